// What TypeScript and the walks call of NAT64: a state at an address, a packet in a room, a verdict. No tables of the director are touched.
import { Nat64State, Nat64Verdict } from '../layout.gen';
import { embed, extract, isInside } from './address';
import { expireReassemblies } from './reassembly';
import { answerHeld, expire, probe } from './session';
import { split } from './split';
import { translateStateful } from './stateful';
import { addBinding, bindingAt, findBinding4, findBinding6, tablesOf } from './table';
import { translateStateless } from './translate';
import { endsOf, outerOf } from './view';

/**
 * Translates the packet at `at` in place, whichever family it is of; the state says where the result lies. Stateful when the state has
 * tables. Nothing is written outside the room of the state.
 */
export function nat64Translate(state: u32, at: u32, bytes: u32, nowMs: u32): u32 {
  const n = timed(state, nowMs);
  if (n.tables == 0) return translateStateless(n, at, bytes);
  const t = tablesOf(n);
  const verdict = translateStateful(n, at, bytes);
  if (verdict == Nat64Verdict.Translated) t.translated += 1;
  else if (verdict == Nat64Verdict.Answered) t.answered += 1;
  const counter = <usize>t.reasons + (n.reason << 3);
  store<u64>(counter, load<u64>(counter) + 1);
  return verdict;
}

function timed(state: u32, nowMs: u32): Nat64State {
  const n = Nat64State.at(state);
  n.nowMs = nowMs;
  if (n.tables != 0) tablesOf(n).nowMs = nowMs;
  return n;
}

/** The fragments of the last result, when its splitMtu is not 0, one behind the other at `out`: their bytes, or 0 when they do not fit. */
export function nat64Split(state: u32, out: u32, outBytes: u32): u32 {
  const n = Nat64State.at(state);
  return n.splitMtu == 0 ? 0 : split(n.address, n.splitMtu, outerOf(n).identification, out, outBytes);
}

/** Ends idle sessions among the next rows, and datagrams that were not whole in time; returns how many sessions. */
export function nat64Expire(state: u32, nowMs: u32): u32 {
  const n = timed(state, nowMs);
  expireReassemblies(tablesOf(n));
  return expire(n);
}

/** One packet of our own that is due: the answer to a SYN that nobody met, or the probe of an idle connection. 0: none. */
export function nat64Due(state: u32, nowMs: u32): u32 {
  const n = timed(state, nowMs);
  const verdict = answerHeld(n);
  return verdict == Nat64Verdict.None ? probe(n) : verdict;
}

/** A binding by the operator's hand; the IPv6 address is the source of the first ends. False: one of the two ends is bound, or no row. */
export function nat64Bind(state: u32, protocol: u32, port6: u32, raw: u32, port4: u32): bool {
  const n = Nat64State.at(state);
  const t = tablesOf(n);
  const address = endsOf(n).source;
  if (findBinding6(t, address, port6, protocol) != 0 || findBinding4(t, raw, port4, protocol) != 0) return false;
  const row = addBinding(t, address, port6, raw, port4, protocol);
  if (row != 0) bindingAt(t, row).isStatic = 1;
  return row != 0;
}

/** RFC 6052: writes the 16 bytes of the raw IPv4 address under the prefix. */
export function nat64Embed(prefix: u32, bits: u32, raw: u32, to: u32): void {
  embed(prefix, bits, raw, to);
}

/** RFC 6052: the raw IPv4 address in the address at `at`; `nat64IsInside` must have said yes. */
export function nat64Extract(at: u32, bits: u32): u32 {
  return extract(at, bits);
}
export function nat64IsInside(at: u32, prefix: u32, bits: u32): bool {
  return isInside(at, prefix, bits);
}

// Trace records for explain: what each step saw. Compiled away but in the trace and check artefacts (--use TRACE=1).
import { PacketRecord, Step, TRACE_MAX, TRACE_RECORD_BYTES, TraceRecord } from '../layout.gen';
import { state, trace as records } from '../memory';
import { copyAddress } from '../wire/ipv6';

/** Says what a step has done. `a` to `d` mean what Step says. */
export function trace(packet: PacketRecord, step: Step, a: u32, b: u32, c: u32, d: u32): void {
  if (TRACE == 0) return;
  if (state.trace >= TRACE_MAX) return;
  const record = TraceRecord.at(records + <usize>state.trace * TRACE_RECORD_BYTES);
  state.trace += 1;
  record.step = <u8>step;
  record.verdict = packet.verdict;
  record.reason = packet.reason;
  record.family = packet.family;
  record.a = a;
  record.b = b;
  record.c = c;
  record.d = d;
  record.net = packet.net;
  copyAddress(record.source, packet.source);
  copyAddress(record.destination, packet.destination);
  copyAddress(record.outerSource, packet.outerSource);
  copyAddress(record.outerDestination, packet.outerDestination);
}

/** Forgets the records of the last packet. */
export function traceAfresh(): void {
  if (TRACE != 0) state.trace = 0;
}

// IPv4 addresses and ports of new bindings (RFC 6146, 3.5.1.1 and 3.5.2.3): one client keeps one address, a port keeps its parity, and
// one below 1024 stays there, as long as such a port is free.
import { NAT64_PORT_TRIES, Nat64Reason, Nat64State, Nat64Tables } from '../layout.gen';
import { PROTOCOL_ICMP } from '../wire/ipv4';
import { addBinding, findBinding4, fullReason, hash6 } from './table';

const WELL_KNOWN_PORTS: u32 = 1024;

/** The address is an IPv4 address of the translator itself. */
export function isPool(t: Nat64Tables, raw: u32): bool {
  for (let index: u32 = 0; index < t.poolSize; index++) if (load<u32>(<usize>t.pool + (index << 2)) == raw) return true;
  return false;
}

/** T of a client: all its bindings have the same ("paired" pooling, RFC 4787). */
export function addressOf(t: Nat64Tables, client: usize): u32 {
  return load<u32>(<usize>t.pool + ((hash6(t, client, 0, 0) % t.poolSize) << 2));
}

/** Why the last `bind` failed. */
export let bindReason: Nat64Reason = Nat64Reason.None;

/** A new binding for (X’, x); 0: no port or no row is free. `wanted`: the port that a SYN from outside waits for, or 0 (3.5.2.3). */
export function bind(n: Nat64State, t: Nat64Tables, client: usize, port: u32, protocol: u32, wanted: u32): u32 {
  bindReason = Nat64Reason.PortsFull;
  if (t.poolSize == 0) return 0;
  const raw = addressOf(t, client);
  const isIcmp = protocol == PROTOCOL_ICMP;
  const isLow = port < WELL_KNOWN_PORTS;
  let first = isIcmp ? 0 : isLow ? 1 : max(t.portFirst, WELL_KNOWN_PORTS);
  let last = isIcmp ? 0xffff : isLow ? WELL_KNOWN_PORTS - 1 : t.portLast;
  // The pool was given fewer ports than there are: the low ones are not for us then.
  if (isLow && !isIcmp && t.portFirst > 1) {
    first = t.portFirst;
    last = t.portLast;
  }
  const seed = hash6(t, client, port, protocol) ^ n.identification;
  const isWanted = wanted != 0 && findBinding4(t, raw, wanted, protocol) == 0;
  const free = isWanted ? wanted : freePort(t, raw, protocol, port, first, last, isIcmp ? 1 : 2, seed);
  if (free == NO_PORT) return 0;
  const row = addBinding(t, client, port, raw, free, protocol);
  bindReason = fullReason;
  return row;
}

const NO_PORT: u32 = 0xffffffff;

/** The client's own port where it is free, otherwise some tries from a place that nobody outside can guess. */
function freePort(
  t: Nat64Tables,
  raw: u32,
  protocol: u32,
  port: u32,
  first: u32,
  last: u32,
  step: u32,
  seed: u32,
): u32 {
  if (port >= first && port <= last && findBinding4(t, raw, port, protocol) == 0) return port;
  const start = step == 1 ? first : first + ((first ^ port) & 1);
  if (start > last) return NO_PORT;
  const ports = (last - start) / step + 1;
  for (let count: u32 = 0; count < NAT64_PORT_TRIES && count < ports; count++) {
    const candidate = start + (((seed % ports) + count) % ports) * step;
    if (findBinding4(t, raw, candidate, protocol) == 0) return candidate;
  }
  return NO_PORT;
}

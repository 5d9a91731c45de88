// Opens a port of a named kind, or the best one that this machine allows; waits on several at once.
import { errno, errnos, libcCalls, SystemError } from './ffi.ts';
import { openMemory } from './memory.ts';
import { openPacket } from './packet.ts';
import { openPcap } from './pcap.ts';
import type { Port, PortKindName, PortOptions } from './port.ts';
import { openTun } from './tun.ts';
import { openXdp } from './xdp.ts';

const OPEN: Readonly<Record<PortKindName, (options: PortOptions) => Port>> = {
  xdp: openXdp,
  packet: openPacket,
  tun: openTun,
  memory: openMemory,
  pcap: openPcap,
};
const AUTO: readonly PortKindName[] = ['xdp', 'packet', 'tun'];

/** 'auto' tries xdp, packet and tun in this order; the port says which were refused and why. */
export async function openPort(options: PortOptions): Promise<Port> {
  if (options.kind !== 'auto') return OPEN[options.kind](options);
  const refused: { kind: PortKindName; why: string }[] = [];
  for (const kind of AUTO) {
    try {
      return { ...OPEN[kind](options), refused };
    } catch (error) {
      refused.push({ kind, why: error instanceof Error ? error.message : String(error) });
    }
  }
  const reasons = refused.map(({ kind, why }) => `${kind}: ${why}`).join('; ');
  throw new Error(`no kind of port can be opened on ${options.device}: ${reasons}`);
}

const POLLIN = 1;
const POLL_MAX = 257;
const entries = new Uint8Array(POLL_MAX * 8);
const view = new DataView(entries.buffer);

/** One poll(2) over all descriptors. Returns how many ports have something; at once when a memory or pcap port has frames. */
export function pollPorts(ports: readonly Port[], timeoutMs: number): number {
  let count = 0;
  let pending = 0;
  for (const port of ports) {
    if (port.pending()) pending += 1;
    if (port.fd === null || count === POLL_MAX) continue;
    view.setInt32(count * 8, port.fd, true);
    view.setUint16(count * 8 + 4, POLLIN, true);
    view.setUint16(count * 8 + 6, 0, true);
    count += 1;
  }
  if (count === 0 && pending > 0) return pending;
  const ready = libcCalls.poll(entries, count, pending > 0 ? 0 : timeoutMs);
  if (ready < 0 && errno() !== errnos['EINTR']) throw new SystemError('poll', errno());
  return Math.max(ready, 0) + pending;
}

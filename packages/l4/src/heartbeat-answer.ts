// The packet worker's answer to a heartbeat (data-plane.md P35): the frame is turned around where it lies and sent back the way it came.
import { type Core } from '@openclb/core-wasm';
import { PacketFlag, PacketRecord } from '@openclb/core-wasm/layout';
import { HEARTBEAT_PORT, isHeartbeat, setHeartbeatStatus } from './heartbeat.ts';

const UDP = 17;
const { at } = PacketRecord;

/** False when the packet of this record is no heartbeat. The port it came from must be kicked after a true. */
export function answerHeartbeat(core: Core, index: number, status: number): boolean {
  const { bytes, view } = core;
  const record = core.record(index);
  // One that came out of a tunnel was sent by nobody who announces us, and its frame is not what the port received.
  if (view.getUint16(record + at.flags, true) & PacketFlag.FromTunnel) return false;
  if (bytes[record + at.protocol] !== UDP || view.getUint16(record + at.destinationPort, true) !== HEARTBEAT_PORT)
    return false;
  const address = core.worker.slab + view.getUint32(record + at.address, true);
  const payload = view.getUint16(record + at.payload, true);
  if (!isHeartbeat(view, address + payload, view.getUint32(record + at.l3End, true) - payload)) return false;
  const l3 = address + view.getUint16(record + at.l3, true);
  const l4 = address + view.getUint16(record + at.l4, true);
  if (view.getUint16(record + at.l2Bytes, true) > 0) swap(bytes, address, address + 6, 6);
  if (bytes[record + at.family] === 4) swap(bytes, l3 + 12, l3 + 16, 4);
  else swap(bytes, l3 + 8, l3 + 24, 16);
  swap(bytes, l4, l4 + 2, 2);
  const before = view.getUint16(address + payload + 4);
  setHeartbeatStatus(view, address + payload, status);
  updateUdpChecksum(view, l4 + 6, before, view.getUint16(address + payload + 4));
  core.exports['send']?.(bytes[record + at.portIn] as number, address, view.getUint32(record + at.length, true));
  return true;
}

function swap(bytes: Uint8Array, a: number, b: number, count: number): void {
  for (let index = 0; index < count; index++) {
    const byte = bytes[a + index] as number;
    bytes[a + index] = bytes[b + index] as number;
    bytes[b + index] = byte;
  }
}

/** RFC 1624: the sum without one word and with another. 0 means "no checksum" over IPv4 and stays. */
function updateUdpChecksum(view: DataView, offset: number, before: number, after: number): void {
  const old = view.getUint16(offset);
  if (old === 0) return;
  let sum = (~old & 0xffff) + (~before & 0xffff) + after;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(offset, ~sum & 0xffff || 0xffff);
}

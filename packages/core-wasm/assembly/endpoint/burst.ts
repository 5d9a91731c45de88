// The endpoint's loop over a burst: which walk a packet takes follows from its port alone (P7). The second entry of the core.
import { BURST_MAX, PACKET_RECORD_BYTES, PacketRecord, Reason, UPLINK } from '../layout.gen';
import { burst, setNow, slabBytes } from '../memory';
import { drop, settle } from '../verdict';
import { adopt, bank } from './bank';
import { fromInside } from './from-inside';
import { fromUplink } from './from-uplink';
import { fromVm } from './from-vm';

/** Leaves a verdict in each of the first `count` records. Returns how many it looked at. */
export function endpointBurst(count: u32, nowMs: u32): u32 {
  const packets = min(count, BURST_MAX);
  setNow(nowMs);
  const isReady = adopt();
  for (let index: u32 = 0; index < packets; index++) {
    const packet = changetype<PacketRecord>(burst + <usize>index * PACKET_RECORD_BYTES);
    if (!isReady) drop(packet, Reason.NoImage);
    else if (!isInChunk(packet)) drop(packet, Reason.BadAddress);
    else if (<u32>packet.portIn == UPLINK) fromUplink(packet);
    else if (<u32>packet.portIn == bank.insidePort) fromInside(packet);
    else fromVm(packet);
    settle(packet);
  }
  return packets;
}

/** Every header is read inside the frame, so a frame inside its chunk is all that has to hold. */
function isInChunk(packet: PacketRecord): bool {
  return packet.address < slabBytes && packet.length <= 2048 && (packet.address & 2047) + packet.length <= 2048;
}

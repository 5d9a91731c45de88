// peer: packets from one director to another (P9): the packet itself in GRE between tunnel addresses, with a key that no VPC has, and
// behind it sixteen bytes: what the packet was, its net, and a SipHash-1-3 tag over all of it. Such a packet is never handed on.
import { CHUNK_BYTES, Encapsulation, PEER_ROW_BYTES, PacketFlag, PacketRecord, PeerRow, Reason } from '../layout.gen';
import { bank, peers, slab } from '../memory';
import { isZero, ownTunnel } from '../table/rows';
import { drop } from '../verdict';
import { emit } from './emit';
import { encapsulate } from './encapsulate';
import { EXTRA_BYTES_MAX, addExtra, hasRoom, settleExtra } from './extra';
import { frameAt, ipBytes, l3At } from './frame';
import { routeToTunnel } from './route';

/** Keys of peers are 0xFFFFFF00 to 0xFFFFFFFF, which no VPC may have; this one is a question. */
const KEY_ASK: u32 = 0xffffff00;
const TRAILER_BYTES: u32 = 16;
const FROM_TUNNEL: u32 = 1;
const FLAGS: usize = 0;
const NET: usize = 4;
const TAG: usize = 8;

/** A copy of the current packet to every peer. False when there are none, or no room for the copies. */
export function sendToPeers(packet: PacketRecord): bool {
  const bytes = ipBytes(packet) + TRAILER_BYTES;
  const count = bank.peers;
  if (count == 0 || !hasRoom(count) || bytes > EXTRA_BYTES_MAX) return false;
  for (let index: u32 = 0; index < count; index++) {
    const peer = PeerRow.at(peers + <usize>index * PEER_ROW_BYTES);
    const copy = addExtra(packet);
    const at = slab + <usize>copy.address;
    memory.copy(at, l3At(packet), <usize>ipBytes(packet));
    sign(at, packet, ipBytes(packet));
    copy.length = bytes;
    copy.l3End = bytes;
    copy.l4 = <u16>(packet.l4 - packet.l3);
    copy.flags = packet.flags & <u16>PacketFlag.PartialChecksum;
    const isV4 = !isZero(peer.v4) && !isZero(ownTunnel().v4);
    const isSent = routeToTunnel(copy, isV4 ? peer.v4 : peer.v6, KEY_ASK) && fits(copy, bytes);
    if (isSent && encapsulate(copy, Encapsulation.Gre)) emit(copy);
    settleExtra(copy);
  }
  return true;
}

function fits(copy: PacketRecord, bytes: u32): bool {
  return bytes <= <u32>copy.scratch0 ? true : drop(copy, Reason.TooBig);
}

function sign(at: usize, packet: PacketRecord, bytes: u32): void {
  const trailer = at + <usize>bytes;
  const flags: u32 = (packet.flags & <u16>PacketFlag.FromTunnel) != 0 ? FROM_TUNNEL : 0;
  store<u32>(trailer, flags, FLAGS);
  store<u32>(trailer, packet.net, NET);
  store<u64>(trailer, sipBytes(at, bytes + <u32>TAG), TAG);
}

export function isPeerKey(key: u32): bool {
  return key >= KEY_ASK;
}

/** After the tunnel is off: `end` is where the outer packet ended. Leaves what the packet was when its director received it. */
export function acceptPeer(packet: PacketRecord, end: u32): bool {
  const at = l3At(packet);
  const bytes = ipBytes(packet);
  const trailer = at + <usize>bytes;
  const hasTrailer = packet.l3End + TRAILER_BYTES == end && end <= CHUNK_BYTES && bank.peers != 0;
  if (!hasTrailer || load<u64>(trailer, TAG) != sipBytes(at, bytes + <u32>TAG)) return drop(packet, Reason.PeerTag);
  packet.net = load<u32>(trailer, NET);
  packet.length = packet.l3End;
  packet.flags |= <u16>PacketFlag.FromPeer;
  if ((load<u32>(trailer, FLAGS) & FROM_TUNNEL) == 0) packet.flags &= ~(<u16>PacketFlag.FromTunnel);
  return frameAt(packet) != 0;
}

/** SipHash-1-3 (Aumasson, Bernstein) of any bytes, with the key of the cluster. */
function sipBytes(at: usize, bytes: u32): u64 {
  let v0: u64 = 0x736f6d6570736575 ^ bank.peerKey0;
  let v1: u64 = 0x646f72616e646f6d ^ bank.peerKey1;
  let v2: u64 = 0x6c7967656e657261 ^ bank.peerKey0;
  let v3: u64 = 0x7465646279746573 ^ bank.peerKey1;
  const words = bytes >> 3;
  for (let index: u32 = 0; index < words + 4; index++) {
    let word: u64 = 0;
    if (index < words) word = load<u64>(at + ((<usize>index) << 3));
    else if (index == words) {
      word = (<u64>bytes) << 56;
      for (let left: u32 = 0; left < (bytes & 7); left++)
        word |= (<u64>load<u8>(at + <usize>((words << 3) + left))) << (left << 3);
    } else if (index == words + 1) v2 ^= 0xff;
    v3 ^= word;
    v0 += v1;
    v1 = rotl(v1, 13) ^ v0;
    v0 = rotl(v0, 32);
    v2 += v3;
    v3 = rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = rotl(v1, 17) ^ v2;
    v2 = rotl(v2, 32);
    v0 ^= word;
  }
  return v0 ^ v1 ^ v2 ^ v3;
}

// Return memory (P7.4): which tunnel address last carried this inner flow to us, exactly and by peer. Replies go back there.
// Sets of eight entries; a new flow takes a free or the oldest entry of its set, so the memory is bounded and needs no sweeping.
import { PacketRecord, RETURN_ENTRY_BYTES, RETURN_IDLE_MS, RETURN_WAYS, ReturnEntry } from '../layout.gen';
import { nowMs } from '../memory';
import { copyAddress, isSameAddress } from '../wire/ipv6';
import { finish, mix, state } from './bank';
import { isFragment, lookupProtocol } from './parse';

const EXACT: u8 = 1;
const COARSE: u8 = 2;

/** Written by each packet that a director or proxy tunnels to us. Fragments and ICMP errors carry no flow of their own. */
export function remember(packet: PacketRecord): void {
  touch(packet, COARSE, 0, 0, 0);
  if (isFragment(packet) || lookupProtocol(packet) != <u32>packet.protocol) return;
  touch(packet, EXACT, packet.destinationPort, packet.sourcePort, packet.protocol);
}

/** Outer source that carried this very flow, or 0. The packet is on its way out: its source is ours. */
export function recallExact(packet: PacketRecord): usize {
  if (isFragment(packet)) return 0;
  return recall(packet, EXACT, packet.sourcePort, packet.destinationPort, lookupProtocol(packet));
}

/** Outer source that last carried anything from this peer, or 0. */
export function recallCoarse(packet: PacketRecord): usize {
  return recall(packet, COARSE, 0, 0, 0);
}

function recall(packet: PacketRecord, kind: u8, vmPort: u32, peerPort: u32, protocol: u32): usize {
  const hash = hashOf(packet.net, packet.source, packet.destination, vmPort, peerPort, protocol, kind);
  const first = setOf(hash);
  for (let way: u32 = 0; way < RETURN_WAYS; way++) {
    const entry = changetype<ReturnEntry>(first + <usize>way * RETURN_ENTRY_BYTES);
    if (!isEntry(entry, hash, kind, packet.net, packet.source, packet.destination, vmPort, peerPort, protocol))
      continue;
    if (nowMs - entry.lastMs > RETURN_IDLE_MS) return 0;
    return entry.outer;
  }
  return 0;
}

function touch(packet: PacketRecord, kind: u8, vmPort: u32, peerPort: u32, protocol: u32): void {
  const hash = hashOf(packet.net, packet.destination, packet.source, vmPort, peerPort, protocol, kind);
  const first = setOf(hash);
  let victim = changetype<ReturnEntry>(first);
  let victimAge: u32 = 0;
  for (let way: u32 = 0; way < RETURN_WAYS; way++) {
    const entry = changetype<ReturnEntry>(first + <usize>way * RETURN_ENTRY_BYTES);
    if (isEntry(entry, hash, kind, packet.net, packet.destination, packet.source, vmPort, peerPort, protocol)) {
      copyAddress(entry.outer, packet.outerSource);
      entry.lastMs = nowMs;
      return;
    }
    const age: u32 = entry.kind == 0 ? 0xffffffff : nowMs - entry.lastMs;
    if (way == 0 || age > victimAge) {
      victim = entry;
      victimAge = age;
    }
  }
  if (victimAge <= RETURN_IDLE_MS) state.evicted += 1;
  state.remembered += 1;
  copyAddress(victim.vm, packet.destination);
  copyAddress(victim.peer, packet.source);
  copyAddress(victim.outer, packet.outerSource);
  victim.net = packet.net;
  victim.lastMs = nowMs;
  victim.vmPort = <u16>vmPort;
  victim.peerPort = <u16>peerPort;
  victim.tag = <u16>hash;
  victim.protocol = <u8>protocol;
  victim.kind = kind;
}

function setOf(hash: u32): usize {
  const set = <u32>((<u64>hash * state.sets) >> 32);
  return <usize>state.entries + <usize>set * RETURN_WAYS * RETURN_ENTRY_BYTES;
}

function isEntry(
  entry: ReturnEntry,
  hash: u32,
  kind: u8,
  net: u32,
  vm: usize,
  peer: usize,
  vmPort: u32,
  peerPort: u32,
  protocol: u32,
): bool {
  return (
    entry.tag == <u16>hash &&
    entry.kind == kind &&
    entry.net == net &&
    entry.vmPort == <u16>vmPort &&
    entry.peerPort == <u16>peerPort &&
    entry.protocol == <u8>protocol &&
    isSameAddress(entry.vm, vm) &&
    isSameAddress(entry.peer, peer)
  );
}

function hashOf(net: u32, vm: usize, peer: usize, vmPort: u32, peerPort: u32, protocol: u32, kind: u8): u32 {
  let hash = mix(state.seed, net ^ ((<u32>kind) << 24) ^ (protocol << 16));
  for (let offset: usize = 0; offset < 16; offset += 4) {
    hash = mix(hash, load<u32>(vm + offset));
    hash = mix(hash, load<u32>(peer + offset));
  }
  return finish(mix(hash, (vmPort << 16) | peerPort));
}

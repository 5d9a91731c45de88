// schedule: the target of a new flow. Maglev over the configured targets with health as an overlay (P12), smooth wrr, or the fewest
// connections by weight (P13).
import {
  GroupRow,
  ListenerRow,
  MAGLEV_RETRIES,
  NONE,
  PacketRecord,
  Reason,
  Scheduler,
  Step,
  Translation,
} from '../layout.gen';
import { bank, health, maglev, targetRefs, worker, wrr } from '../memory';
import { hashSchedule, mix } from '../table/hash';
import { groupAt, isHashed, isUsable, listenerAt, memberAt, targetAt } from '../table/rows';
import { findSticky, keepSticky } from '../table/sticky';
import { drop } from '../verdict';
import { isSameAddress } from '../wire/ipv6';
import { trace } from './trace';

/** Leaves targetSlot and maglevSlot. Nothing to do for a flow that has its target. */
export function schedule(packet: PacketRecord): bool {
  if (packet.targetSlot != NONE) return true;
  return scheduleIn(packet, listenerAt(packet.listenerSlot).group);
}

/** In a group that something else than the listener has chosen: the name that the client asked for (P27). */
export function scheduleIn(packet: PacketRecord, groupSlot: u32): bool {
  const listener = listenerAt(packet.listenerSlot);
  const group = groupAt(groupSlot);
  packet.maglevSlot = NONE;
  if (group.slots == 0) return drop(packet, Reason.NoTarget);
  if (listener.stickySeconds != 0 && pickSticky(packet, group)) {
    // Its client has been here.
  } else if (listener.scheduler == <u8>Scheduler.Wrr) packet.targetSlot = pickWrr(group);
  else if (listener.scheduler == <u8>Scheduler.LeastConnections) packet.targetSlot = pickLeast(group);
  else pickMaglev(packet, group, hashOf(listener, packet.source, packet.sourcePort, packet.protocol));
  // In full NAT the target sees a local address, so a client may well be its own target (hairpin).
  const isSeen = listener.translation != <u8>Translation.FullNat;
  if (isSeen && isClient(packet, packet.targetSlot) && !pickOther(packet, group)) return drop(packet, Reason.Loopback);
  if (listener.stickySeconds != 0)
    keepSticky(packet.listenerSlot, packet.source, packet.targetSlot, listener.stickySeconds);
  trace(
    packet,
    Step.Schedule,
    packet.targetSlot,
    packet.maglevSlot,
    load<u8>(health + <usize>packet.targetSlot),
    listener.scheduler,
  );
  return true;
}

/** The target that a client would get or has got, where every director computes the same: for an ICMP error without a flow (P16). */
export function recompute(packet: PacketRecord, client: usize, clientPort: u32, protocol: u32): bool {
  const listener = listenerAt(packet.listenerSlot);
  const group = groupAt(listener.group);
  const isPlain = listener.translation != <u8>Translation.FullNat && listener.handshake == 0;
  const isComputed = isHashed(listener) && isPlain;
  if (!isComputed || group.slots == 0) return drop(packet, Reason.IcmpUnmatched);
  pickMaglev(packet, group, hashOf(listener, client, clientPort, protocol));
  return true;
}

function hashOf(listener: ListenerRow, client: usize, clientPort: u32, protocol: u32): u32 {
  // With stickiness a client has one place in the table, so directors that never saw it choose alike.
  const sourceOnly = listener.scheduler == <u8>Scheduler.SourceHash || listener.stickySeconds != 0;
  return hashSchedule(client, clientPort, listener.vip, listener.vport, protocol, sourceOnly);
}

/**
 * The target that this client had last, while it takes new flows. It is looked up among the members of the group: the slot in the table
 * may belong to another target by now.
 */
function pickSticky(packet: PacketRecord, group: GroupRow): bool {
  const target = findSticky(packet.listenerSlot, packet.source);
  if (target == NONE) return false;
  for (let row: u32 = 0; row < group.memberCount; row++) {
    const member = memberAt(group.members + row);
    if (member.target != target) continue;
    if (member.weight == 0 || !isUsable(target)) return false;
    packet.targetSlot = target;
    return true;
  }
  return false;
}

/** A client inside a VPC may be a target of the listener itself; its own packet must not come back to it (P30). */
function isClient(packet: PacketRecord, slot: u32): bool {
  const target = targetAt(slot);
  return target.net == packet.net && isSameAddress(target.address, packet.source);
}

function pickOther(packet: PacketRecord, group: GroupRow): bool {
  packet.maglevSlot = NONE;
  for (let pass: u32 = 0; pass < 2; pass++) {
    for (let row: u32 = 0; row < group.memberCount; row++) {
      const member = memberAt(group.members + row);
      if (member.weight == 0 || isClient(packet, member.target) || (pass == 0 && !isUsable(member.target))) continue;
      packet.targetSlot = member.target;
      return true;
    }
  }
  return false;
}

/** The slot's target; then up to eight re-hashed slots; then the first usable one; with none, the slot's own target. */
function pickMaglev(packet: PacketRecord, group: GroupRow, hash: u32): void {
  // Maglev's table is prime-sized, so the modulo is part of the algorithm, not a missed mask.
  let slot = hash % group.slots;
  const own = targetOfSlot(group, slot);
  packet.maglevSlot = slot;
  packet.targetSlot = own;
  if (isUsable(own)) return;
  for (let again: u32 = 1; again <= MAGLEV_RETRIES; again++) {
    slot = mix(hash, again) % group.slots;
    const target = targetOfSlot(group, slot);
    if (!isUsable(target)) continue;
    packet.maglevSlot = slot;
    packet.targetSlot = target;
    return;
  }
  for (let row: u32 = 0; row < group.memberCount; row++) {
    const member = memberAt(group.members + row);
    if (member.weight == 0 || !isUsable(member.target)) continue;
    packet.targetSlot = member.target;
    return;
  }
}

function targetOfSlot(group: GroupRow, slot: u32): u32 {
  return memberAt(group.members + load<u16>(maglev + ((<usize>(group.maglev + slot)) << 1))).target;
}

function hasUsable(group: GroupRow): bool {
  for (let row: u32 = 0; row < group.memberCount; row++) {
    const member = memberAt(group.members + row);
    if (member.weight != 0 && isUsable(member.target)) return true;
  }
  return false;
}

/**
 * The member that has the fewest flows for its weight when it has got this one, of the usable members, or of all when none is usable.
 * Counts are those of this worker; ties go round from a start of its own, or all workers would open with the first member.
 */
function pickLeast(group: GroupRow): u32 {
  const isPicky = hasUsable(group);
  const start = mix(mix(bank.ordinal, worker), <u32>group.id) % group.memberCount;
  let best: u32 = NONE;
  let bestFlows: u64 = 0;
  let bestWeight: u64 = 1;
  for (let count: u32 = 0; count < group.memberCount; count++) {
    const row = start + count < group.memberCount ? start + count : start + count - group.memberCount;
    const member = memberAt(group.members + row);
    if (member.weight == 0 || (isPicky && !isUsable(member.target))) continue;
    const flows = <u64>load<u32>(targetRefs + ((<usize>member.target) << 2)) + 1;
    if (best != NONE && flows * bestWeight >= bestFlows * member.weight) continue;
    best = member.target;
    bestFlows = flows;
    bestWeight = member.weight;
  }
  return best;
}

/** Smooth weighted round robin over the usable members, or over all when none is usable. State per worker. */
function pickWrr(group: GroupRow): u32 {
  const isPicky = hasUsable(group);
  let best: u32 = NONE;
  let bestWeight: i32 = i32.MIN_VALUE;
  let sum: i32 = 0;
  for (let row: u32 = 0; row < group.memberCount; row++) {
    const member = memberAt(group.members + row);
    if (member.weight == 0 || (isPicky && !isUsable(member.target))) continue;
    const current = load<i32>(weightAt(group, row)) + <i32>member.weight;
    const value = current + startOffset(group, row, member.weight);
    store<i32>(weightAt(group, row), current);
    sum += <i32>member.weight;
    if (value > bestWeight) {
      bestWeight = value;
      best = row;
    }
  }
  store<i32>(weightAt(group, best), load<i32>(weightAt(group, best)) - sum);
  return memberAt(group.members + best).target;
}

function weightAt(group: GroupRow, row: u32): usize {
  return wrr + ((<usize>(group.members + row)) << 2);
}

/** Or all workers and directors would open with the heaviest target (P13). Constant, so it shifts the order and nothing else. */
function startOffset(group: GroupRow, row: u32, weight: u32): i32 {
  return <i32>(mix(mix(bank.ordinal, worker), mix(<u32>group.id, row)) % (weight + 1));
}

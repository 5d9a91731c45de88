// What a worker does between two bursts with the packets that were not simply forwarded (data-plane.md P35, P36):
// answers the heartbeat, hands probe answers to the main thread, keeps packets whose next hop is not resolved and sends them when it is.
// Everything here is bounded: packets a turn, packets a next hop, packets in all, and age.
import { type Core } from '@openclb/core-wasm';
import { NextHopTable, PacketRecord, Reason, Verdict, limits } from '@openclb/core-wasm/layout';
import { answerHeartbeat } from './heartbeat-answer.ts';
import { HeartbeatStatus } from './heartbeat.ts';
import { createHeldPackets } from './held.ts';
import { type PuntedPacket, type SlottedProbe } from './worker-messages.ts';

const PUNTS_PER_TURN_MAX = 64;
const { at } = PacketRecord;

export interface BetweenBursts {
  /** Looks at the records of a burst after `transmit` and before `recycle`. Returns the ports that must be kicked. */
  takeBurst(count: number, nowMs: number): number;
  /** Once a turn: punted packets go to `hand`, probes to their targets, held packets to next hops that have changed. */
  settle(nowMs: number, hand: (packets: PuntedPacket[]) => void): void;
  /** Probes to send with the next `settle`. */
  probe(probes: readonly SlottedProbe[]): void;
  setStatus(status: number): void;
  /** Heartbeats answered, probes and held packets sent, and packets dropped here after the core had counted them as held or punted. */
  counters(): Record<string, number>;
}

export function createBetweenBursts(core: Core, kick: (mask: number) => void): BetweenBursts {
  const { bytes } = core;
  const nextHops = new Uint32Array(core.memory.buffer, core.plan.map.nextHops + NextHopTable.at.sequence, 1);
  const held = createHeldPackets();
  let status: number = HeartbeatStatus.Serving;
  const punted: PuntedPacket[] = [];
  const waiting: SlottedProbe[] = [];
  let seenSequence = 0;
  let taken = 0;
  const counts = { heldSent: 0, puntOverflow: 0, heartbeats: 0, probes: 0 };

  function takeBurst(count: number, nowMs: number): number {
    let mask = 0;
    for (let index = 0; index < count; index++) {
      const record = core.worker.burst + index * PacketRecord.bytes;
      const verdict = bytes[record + at.verdict];
      if (verdict === Verdict.Held) held.keep(core.ipPacket(index), nowMs);
      else if (verdict === Verdict.Punt && bytes[record + at.reason] === Reason.Probe) mask |= takePunt(index);
    }
    return mask;
  }

  function takePunt(index: number): number {
    if (++taken > PUNTS_PER_TURN_MAX) {
      counts.puntOverflow++;
      return 0;
    }
    if (answerHeartbeat(core, index, status)) {
      counts.heartbeats++;
      return 1 << core.portIn(index);
    }
    punted.push(copyPunted(core, index));
    return 0;
  }

  /** Probes to the targets in their slots, a burst at a time. */
  function probeNow(wanted: readonly SlottedProbe[], nowMs: number): void {
    for (let from = 0; from < wanted.length;) {
      const count = core.craftProbes(wanted.slice(from, from + limits.BURST_MAX), nowMs);
      sendInjected(count, nowMs);
      counts.probes += count;
      from += count;
    }
  }

  function sendInjected(count: number, sinceMs: number): void {
    kick(core.transmit(count));
    takeBurst(count, sinceMs);
    core.recycle(count);
  }

  return {
    takeBurst,
    counters: () => ({ ...counts, heldExpired: held.expired, heldOverflow: held.overflow }),
    settle(nowMs, hand) {
      taken = 0;
      if (punted.length > 0) hand(punted.splice(0));
      if (waiting.length > 0) probeNow(waiting.splice(0), nowMs);
      const sequence = Atomics.load(nextHops, 0);
      // Odd: the main thread is writing; the next turn will see it done.
      if ((sequence & 1) === 1) return;
      if (held.size > 0 && sequence !== seenSequence) {
        // What is still unresolved keeps the time of its first try.
        for (const { packet, sinceMs } of held.takeAll(nowMs)) {
          const count = core.inject([packet]);
          core.emitBurst(count, nowMs);
          sendInjected(count, sinceMs);
          counts.heldSent += count;
        }
      }
      seenSequence = sequence;
      held.expire(nowMs);
    },
    probe: (more) => void waiting.push(...more),
    setStatus: (next) => void (status = next),
  };
}

function copyPunted(core: Core, index: number): PuntedPacket {
  return {
    reason: core.reason(index),
    net: core.currentNet(index),
    portIn: core.portIn(index),
    packet: core.currentPacket(index).slice(),
  };
}

// Sends the probes that are due through the data path and tells the health state what came back (data-plane.md P24).
// Source is the director's probe address; the core sends a probe by its target's own row and tunnel, so it fails when the clients' path fails.
// An HTTP check of a layer-4 listener is a TCP check here; proxies are asked on their ready port by TCP as well.
import { type ProbePacket } from '@openclb/core-wasm';
import { type DirectorImage, address, toBytes16 } from '@openclb/model';
import { type Check, type Due } from './health-state.ts';
import { type ProbeAnswer, TcpFlag, readProbeAnswer } from './probe-answer.ts';

/** Tencent's marker of probes at layer 4. */
const MARKER = new TextEncoder().encode('HEALTH CHECK');
/** Source ports of probes; a port is used again after all others. */
const PORT_MIN = 10_000;
const PORT_MAX = 65_535;
/** A UDP target that answers a ping is good if nothing says "unreachable" within this part of the timeout. */
const UDP_QUIET_PART = 0.5;

export interface Prober {
  configure(image: DirectorImage): void;
  /** Makes and sends these probes; one that cannot be made has failed. */
  send(due: readonly Due[], nowMs: number): void;
  /** Takes packets to the probe address. */
  take(packets: readonly Uint8Array[], nowMs: number): void;
  /** Ends the waiting of UDP probes; forgets old probes. */
  tick(nowMs: number): void;
}

export interface TargetProbe extends ProbePacket {
  /** Stable id of the target whose row says how it is reached. */
  readonly target: string;
}

export interface ProberOptions {
  /** Sends probes to their targets, in the tunnel of each. */
  emit(probes: readonly TargetProbe[]): void;
  conclude(check: Check, attempt: number, isGood: boolean, nowMs: number): void;
}

/** How a target is reached. */
interface Way {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly port: number;
}

interface Sent {
  readonly due: Due;
  readonly way: Way;
  readonly port: number;
  readonly sequence: number;
  readonly atMs: number;
  hasPinged: boolean;
}

export function createProber({ emit, conclude }: ProberOptions): Prober {
  let ways = new Map<string, Way>();
  const sent = new Map<number, Sent>();
  let nextPort = PORT_MIN;
  let nextSequence = crypto.getRandomValues(new Uint32Array(1))[0]!;

  function takePort(): number {
    nextPort = nextPort >= PORT_MAX ? PORT_MIN : nextPort + 1;
    return nextPort;
  }

  function finish(probe: Sent, isGood: boolean, nowMs: number): void {
    sent.delete(probe.port);
    conclude(probe.due.check, probe.due.attempt, isGood, nowMs);
  }

  function takeAnswer(answer: ProbeAnswer, nowMs: number): void {
    const probe = sent.get(answer.ownPort);
    if (probe === undefined) return;
    const { type } = probe.due.check.spec;
    if (answer.kind === 'synAck') {
      if (answer.acknowledged !== (probe.sequence + 1) >>> 0) return;
      emit([tcpProbe(probe, TcpFlag.Rst, answer.acknowledged)]);
      finish(probe, true, nowMs);
    } else if (answer.kind === 'echo' && type === 'udp') probe.hasPinged = true;
    else finish(probe, answer.kind === 'echo' || answer.kind === 'datagram', nowMs);
  }

  return {
    configure: (image) => void (ways = waysOf(image)),
    send(due, nowMs) {
      const probes: TargetProbe[] = [];
      for (const one of due) {
        const way = ways.get(one.check.target);
        if (way === undefined) {
          conclude(one.check, one.attempt, false, nowMs);
          continue;
        }
        nextSequence = (nextSequence + 0x01000193) >>> 0;
        const probe: Sent = { due: one, way, port: takePort(), sequence: nextSequence, atMs: nowMs, hasPinged: false };
        sent.set(probe.port, probe);
        probes.push(...probesOf(probe));
      }
      if (probes.length > 0) emit(probes);
    },
    take(packets, nowMs) {
      for (const packet of packets) {
        const answer = readProbeAnswer(packet);
        if (answer !== null) takeAnswer(answer, nowMs);
      }
    },
    tick(nowMs) {
      for (const probe of sent.values()) {
        const { timeoutMs } = probe.due.check.spec;
        const age = nowMs - probe.atMs;
        if (probe.hasPinged && age >= timeoutMs * UDP_QUIET_PART) finish(probe, true, nowMs);
        else if (age > timeoutMs) sent.delete(probe.port);
      }
    },
  };
}

function probesOf(probe: Sent): TargetProbe[] {
  const { way, port, due } = probe;
  const { target, spec } = due.check;
  const base = { target, source: way.source, destination: way.destination, sourcePort: port, payload: MARKER };
  const ping: TargetProbe = { ...base, protocol: 'icmp', destinationPort: due.attempt & 0xffff };
  if (spec.type === 'icmp') return [ping];
  if (spec.type === 'udp') return [ping, { ...base, protocol: 'udp', destinationPort: spec.port ?? way.port }];
  return [tcpProbe(probe, TcpFlag.Syn, probe.sequence)];
}

function tcpProbe({ way, port, due }: Sent, tcpFlags: number, sequence: number): TargetProbe {
  const { target, spec } = due.check;
  const { source, destination } = way;
  const destinationPort = spec.port ?? way.port;
  return { target, protocol: 'tcp', source, destination, sourcePort: port, destinationPort, tcpFlags, sequence };
}

/** Target id → how it is addressed; a target of a family in which we have no probe address is left out. */
function waysOf(image: DirectorImage): Map<string, Way> {
  const ways = new Map<string, Way>();
  for (const target of image.targets) {
    const source = target.address.includes(':') ? image.probe.v6 : image.probe.v4;
    if (source === undefined) continue;
    ways.set(target.id, { source: bytesOf(source), destination: bytesOf(target.address), port: target.port });
  }
  return ways;
}

function bytesOf(text: string): Uint8Array {
  return toBytes16(address(text));
}

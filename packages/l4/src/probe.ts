// Sends the probes that are due through the data path and tells the health state what came back (data-plane.md P24).
// Source is the director's probe address, the tunnel is the one that the target's clients use, so a probe fails when their path fails.
// An HTTP check of a layer-4 listener is a TCP check here; proxies are asked on their ready port by TCP as well.
import { type AddressPair, type DirectorImage, address, toBytes16 } from '@openclb/model';
import { type Check, type Due } from './health-state.ts';
import {
  type ProbeAddresses,
  type ProbeAnswer,
  TcpFlag,
  type Tunnel,
  echoProbe,
  encapsulateProbe,
  readProbeAnswer,
  tcpProbe,
  udpProbe,
} from './probe-packet.ts';

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

export interface ProberOptions {
  emit(packets: readonly Uint8Array[]): void;
  conclude(check: Check, attempt: number, isGood: boolean, nowMs: number): void;
}

/** How a target is reached. */
interface Way {
  readonly addresses: ProbeAddresses;
  readonly tunnel: Tunnel | null;
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
      emit([wrap(probe.way, segmentOf(probe, TcpFlag.Rst, answer.acknowledged))]);
      finish(probe, true, nowMs);
    } else if (answer.kind === 'echo' && type === 'udp') probe.hasPinged = true;
    else finish(probe, answer.kind === 'echo' || answer.kind === 'datagram', nowMs);
  }

  return {
    configure: (image) => void (ways = waysOf(image)),
    send(due, nowMs) {
      const packets: Uint8Array[] = [];
      for (const one of due) {
        const way = ways.get(one.check.target);
        if (way === undefined) {
          conclude(one.check, one.attempt, false, nowMs);
          continue;
        }
        nextSequence = (nextSequence + 0x01000193) >>> 0;
        const probe: Sent = { due: one, way, port: takePort(), sequence: nextSequence, atMs: nowMs, hasPinged: false };
        sent.set(probe.port, probe);
        packets.push(...packetsOf(probe));
      }
      if (packets.length > 0) emit(packets);
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

function packetsOf(probe: Sent): Uint8Array[] {
  const { way, port, due } = probe;
  const { type, port: checkPort } = due.check.spec;
  const ping = (): Uint8Array => wrap(way, echoProbe(way.addresses, port, due.attempt & 0xffff));
  if (type === 'icmp') return [ping()];
  if (type === 'udp') return [ping(), wrap(way, udpProbe(way.addresses, port, checkPort ?? way.port))];
  return [wrap(way, segmentOf(probe, TcpFlag.Syn, probe.sequence))];
}

function segmentOf(probe: Sent, flags: number, sequence: number): Uint8Array {
  const destinationPort = probe.due.check.spec.port ?? probe.way.port;
  return tcpProbe(probe.way.addresses, { sourcePort: probe.port, destinationPort, flags, sequence });
}

function wrap(way: Way, packet: Uint8Array): Uint8Array {
  return way.tunnel === null ? packet : encapsulateProbe(packet, way.tunnel);
}

/** Target id → how it is reached; a target that cannot be reached is left out. */
function waysOf(image: DirectorImage): Map<string, Way> {
  const own = image.tunnels.find((row) => row.node === image.self.id && row.worker === 0) ?? {};
  const hosts = new Map(image.hosts.map((host) => [host.id, host]));
  const ways = new Map<string, Way>();
  for (const target of image.targets) {
    const destination = bytesOf(target.address);
    const source = target.address.includes(':') ? image.probe.v6 : image.probe.v4;
    if (source === undefined) continue;
    const isTunnelled = target.encapsulation === 'gre' || target.encapsulation === 'ipip';
    const ends = isTunnelled ? tunnelEnds(own, hosts.get(target.host ?? '') ?? {}) : null;
    if (isTunnelled && ends === null) continue;
    const kind = target.encapsulation === 'ipip' ? 'ipip' : 'gre';
    const tunnel: Tunnel | null = ends === null ? null : { ...ends, kind, key: target.net };
    ways.set(target.id, { addresses: { source: bytesOf(source), destination }, tunnel, port: target.port });
  }
  return ways;
}

function tunnelEnds(own: AddressPair, host: AddressPair): ProbeAddresses | null {
  if (own.v4 !== undefined && host.v4 !== undefined) return { source: bytesOf(own.v4), destination: bytesOf(host.v4) };
  if (own.v6 !== undefined && host.v6 !== undefined) return { source: bytesOf(own.v6), destination: bytesOf(host.v6) };
  return null;
}

function bytesOf(text: string): Uint8Array {
  return toBytes16(address(text));
}

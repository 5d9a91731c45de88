// Which probes are sent to which kind of target, and which answers count. Answers are built as bytes and read as a director reads them.
import { buildProbe } from '@openclb/core-wasm';
import { type CheckSpec, type DirectorImage, address, toBytes16 } from '@openclb/model';
import { expect, test } from 'vitest';
import { type Due } from './health-state.ts';
import { TcpFlag } from './probe-answer.ts';
import { type TargetProbe, createProber } from './probe.ts';

const spec: CheckSpec = {
  type: 'tcp',
  intervalMs: 2_000,
  timeoutMs: 1_000,
  healthyThreshold: 2,
  unhealthyThreshold: 2,
};
const bytes = (text: string): Uint8Array => toBytes16(address(text));

const image = {
  self: { id: 'ld1', ordinal: 1, underlay: {} },
  probe: { v4: '100.64.16.1', v6: 'fd7c:6c62:1::1' },
  targets: [
    { id: 'a', name: 'a', net: 100, address: '10.0.0.2', port: 8080, encapsulation: 'gre', host: 'h1' },
    { id: 'a6', name: 'a6', net: 100, address: 'fd00::2', port: 8080, encapsulation: 'gre', host: 'h6' },
    { id: 'b', name: 'b', net: 0, address: '192.0.2.7', port: 80, encapsulation: 'none', host: null },
  ],
} as unknown as DirectorImage;

function setUp() {
  const sent: TargetProbe[] = [];
  const outcomes: Array<[target: string, attempt: number, isGood: boolean]> = [];
  const prober = createProber({
    emit: (probes) => void sent.push(...probes),
    conclude: (check, attempt, isGood) => void outcomes.push([check.target, attempt, isGood]),
  });
  prober.configure(image);
  return { sent, outcomes, prober };
}

const due = (target: string, more: Partial<CheckSpec> = {}): Due => ({
  check: { target, group: 'g', spec: { ...spec, ...more } },
  attempt: 7,
});

test('a TCP probe is a SYN from the probe address of its family to the true address of the target', () => {
  const { sent, prober } = setUp();
  prober.send([due('a'), due('a6', { port: 9_090 })], 0);
  const common = { protocol: 'tcp', tcpFlags: TcpFlag.Syn };
  const v4 = { source: bytes('100.64.16.1'), destination: bytes('10.0.0.2'), destinationPort: 8_080 };
  const v6 = { source: bytes('fd7c:6c62:1::1'), destination: bytes('fd00::2'), destinationPort: 9_090 };
  expect(sent).toEqual([
    expect.objectContaining({ target: 'a', ...common, ...v4 }),
    expect.objectContaining({ target: 'a6', ...common, ...v6 }),
  ]);
  expect(sent[0]!.sourcePort).not.toBe(sent[1]!.sourcePort);
});

const back = { source: bytes('192.0.2.7'), destination: bytes('100.64.16.1') };

/** The target's side of a TCP probe. */
function answer(probe: TargetProbe, tcpFlags: number, acknowledge = 1): Uint8Array {
  const acknowledgement = (probe.sequence! + acknowledge) >>> 0;
  const ports = { sourcePort: probe.destinationPort, destinationPort: probe.sourcePort };
  return buildProbe({ ...back, protocol: 'tcp', ...ports, tcpFlags, sequence: 1, acknowledgement });
}

test('a SYN/ACK of our sequence number is good and answered by RST, which a target forgets at once', () => {
  const { sent, outcomes, prober } = setUp();
  prober.send([due('b')], 0);
  prober.take([answer(sent[0]!, TcpFlag.Syn | TcpFlag.Ack, 2)], 5);
  expect(outcomes).toEqual([]);
  prober.take([answer(sent[0]!, TcpFlag.Syn | TcpFlag.Ack)], 5);
  expect(outcomes).toEqual([['b', 7, true]]);
  const sequence = (sent[0]!.sequence! + 1) >>> 0;
  expect(sent[1]).toEqual({ ...sent[0], tcpFlags: TcpFlag.Rst, sequence });
});

test('a RST is bad at once, and silence is left to the timeout', () => {
  const { sent, outcomes, prober } = setUp();
  prober.send([due('b'), due('a')], 0);
  prober.take([answer(sent[0]!, TcpFlag.Rst | TcpFlag.Ack)], 5);
  prober.tick(5_000);
  expect(outcomes).toEqual([['b', 7, false]]);
});

test('a target without a way to it fails its probe', () => {
  const { outcomes, prober } = setUp();
  prober.send([due('unknown')], 0);
  expect(outcomes).toEqual([['unknown', 7, false]]);
});

/** An echo reply or, with `quoted`, "port unreachable" about that packet. */
function icmpAnswer(identifier: number, quoted?: Uint8Array): Uint8Array {
  const reply = buildProbe({ ...back, protocol: 'icmp', sourcePort: identifier, destinationPort: 0 });
  reply[20] = quoted === undefined ? 0 : 3;
  return quoted === undefined ? reply : Buffer.concat([reply.subarray(0, 28), quoted.subarray(0, 28)]);
}

test('a UDP probe is a ping and a datagram that says HEALTH CHECK', () => {
  const { sent, prober } = setUp();
  prober.send([due('b', { type: 'udp' })], 0);
  expect(sent.map(({ protocol }) => protocol)).toEqual(['icmp', 'udp']);
  for (const probe of sent) expect(Buffer.from(buildProbe(probe)).toString('latin1')).toContain('HEALTH CHECK');
});

test('a UDP target is good when it answers, or answers the ping and says nothing against the datagram', () => {
  const { sent, outcomes, prober } = setUp();
  prober.send([due('b', { type: 'udp' })], 0);
  prober.take([buildProbe({ ...back, protocol: 'udp', sourcePort: 80, destinationPort: sent[0]!.sourcePort })], 5);
  expect(outcomes).toEqual([['b', 7, true]]);
  prober.send([due('b', { type: 'udp' })], 1_000);
  prober.take([icmpAnswer(sent[2]!.sourcePort)], 1_005);
  prober.tick(1_400);
  expect(outcomes).toHaveLength(1);
  prober.tick(1_500);
  expect(outcomes).toEqual([
    ['b', 7, true],
    ['b', 7, true],
  ]);
});

test('port unreachable is bad although the ping is answered', () => {
  const { sent, outcomes, prober } = setUp();
  prober.send([due('b', { type: 'udp' })], 0);
  prober.take([icmpAnswer(sent[0]!.sourcePort), icmpAnswer(0, buildProbe(sent[1]!))], 5);
  prober.tick(999);
  expect(outcomes).toEqual([['b', 7, false]]);
});

test('no byte string makes the reader throw, and strange ones answer nothing', () => {
  const { outcomes, prober } = setUp();
  prober.send([due('b'), due('a', { type: 'icmp' })], 0);
  const seed = buildProbe({ ...back, protocol: 'tcp', sourcePort: 80, destinationPort: 1, tcpFlags: 18 });
  for (let bytesLeft = 0; bytesLeft < seed.length; bytesLeft++) prober.take([seed.subarray(0, bytesLeft)], 1);
  for (let round = 0; round < 20_000; round++) {
    const packet = crypto.getRandomValues(new Uint8Array(round % 80));
    packet[0] = (packet[0] ?? 0) & 1 ? 0x45 : 0x60;
    // Keep it from being a true answer: our ports are 10,001 and up.
    for (const high of [22, 24, 42, 44, 48, 68]) if (packet.length > high) packet[high] = 0;
    prober.take([packet], 1);
  }
  expect(outcomes).toEqual([]);
});

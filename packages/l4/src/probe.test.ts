// Probes as bytes: what is sent to which kind of target, and which answers count. Checksums are verified by summing, as a receiver does.
import { type CheckSpec, type DirectorImage, address, toBytes16 } from '@openclb/model';
import { expect, test } from 'vitest';
import { type Due } from './health-state.ts';
import { Protocol, TcpFlag, echoProbe, tcpProbe, udpProbe } from './probe-packet.ts';
import { createProber } from './probe.ts';

const spec: CheckSpec = {
  type: 'tcp',
  intervalMs: 2_000,
  timeoutMs: 1_000,
  healthyThreshold: 2,
  unhealthyThreshold: 2,
};
const bytes = (text: string): Uint8Array => toBytes16(address(text));
const hex = (packet: Uint8Array): string => Buffer.from(packet).toString('hex');

const image = {
  self: { id: 'ld1', ordinal: 1, underlay: {} },
  probe: { v4: '100.64.16.1', v6: 'fd7c:6c62:1::1' },
  targets: [
    { id: 'gre', name: 'gre', net: 100, address: '10.0.0.2', port: 8080, encapsulation: 'gre', host: 'h1' },
    { id: 'gre6', name: 'gre6', net: 100, address: 'fd00::2', port: 8080, encapsulation: 'gre', host: 'h6' },
    { id: 'none', name: 'none', net: 0, address: '192.0.2.7', port: 80, encapsulation: 'none', host: null },
  ],
} as unknown as DirectorImage;

function setUp() {
  const sent: Uint8Array[] = [];
  const targets: string[] = [];
  const outcomes: Array<[target: string, attempt: number, isGood: boolean]> = [];
  const prober = createProber({
    emit: (probes) => probes.forEach(({ target, packet }) => (targets.push(target), sent.push(packet))),
    conclude: (check, attempt, isGood) => void outcomes.push([check.target, attempt, isGood]),
  });
  prober.configure(image);
  return { sent, targets, outcomes, prober };
}

const due = (target: string, more: Partial<CheckSpec> = {}): Due => ({
  check: { target, group: 'g', spec: { ...spec, ...more } },
  attempt: 7,
});

/** The one's-complement sum of a well-formed IPv4 header, and of a segment with its pseudo header, is 0xffff. */
function expectChecksums(packet: Uint8Array): void {
  const isV4 = packet[0]! >> 4 === 4;
  const protocol = isV4 ? packet[9]! : packet[6]!;
  const payload = packet.subarray(isV4 ? 20 : 40);
  const addresses = isV4 ? packet.subarray(12, 20) : packet.subarray(8, 40);
  const pseudo = protocol === Protocol.Icmp ? 0 : onesSum(addresses) + protocol + payload.length;
  expect([isV4 ? onesSum(packet.subarray(0, 20)) : 0xffff, onesSum(payload, pseudo)]).toEqual([0xffff, 0xffff]);
}

function onesSum(data: Uint8Array, from = 0): number {
  let total = from;
  for (let index = 0; index < data.length; index += 2) total += data[index]! * 256 + (data[index + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

test('a TCP probe is a SYN from the probe address to the true address of the target', () => {
  const { sent, targets, prober } = setUp();
  prober.send([due('gre'), due('gre6', { port: 9_090 })], 0);
  expect(targets).toEqual(['gre', 'gre6']);
  const [v4, v6] = sent as [Uint8Array, Uint8Array];
  expect(hex(v4.subarray(0, 10))).toBe('45000028000040004006');
  expect(hex(v4.subarray(12, 20))).toBe('644010010a000002');
  expect([v4[33], (v4[22]! << 8) | v4[23]!]).toEqual([TcpFlag.Syn, 8_080]);
  expect(hex(v6.subarray(0, 8))).toBe('6000000000140640');
  expect(hex(v6.subarray(8, 40))).toBe(hex(bytes('fd7c:6c62:1::1')) + hex(bytes('fd00::2')));
  expect([v6[53], (v6[42]! << 8) | v6[43]!]).toEqual([TcpFlag.Syn, 9_090]);
  for (const packet of sent) expectChecksums(packet);
});

/** The target's side: answers the last probe that was sent. */
function answer(probe: Uint8Array, flags: number, acknowledge = 1): Uint8Array {
  const view = new DataView(probe.buffer, probe.byteOffset);
  const reply = tcpProbe(
    { source: bytes('192.0.2.7'), destination: bytes('100.64.16.1') },
    { sourcePort: 80, destinationPort: view.getUint16(20), flags, sequence: 1 },
  );
  new DataView(reply.buffer).setUint32(28, view.getUint32(24) + acknowledge);
  return reply;
}

test('a SYN/ACK of our sequence number is good and answered by RST, which a target forgets at once', () => {
  const { sent, outcomes, prober } = setUp();
  prober.send([due('none')], 0);
  prober.take([answer(sent[0]!, TcpFlag.Syn | TcpFlag.Ack, 2)], 5);
  expect(outcomes).toEqual([]);
  prober.take([answer(sent[0]!, TcpFlag.Syn | TcpFlag.Ack)], 5);
  expect(outcomes).toEqual([['none', 7, true]]);
  const reset = sent[1]!;
  expect(reset[33]).toBe(TcpFlag.Rst);
  expect(hex(reset.subarray(20, 24))).toBe(hex(sent[0]!.subarray(20, 24)));
  expect(new DataView(reset.buffer).getUint32(24)).toBe((new DataView(sent[0]!.buffer).getUint32(24) + 1) >>> 0);
  expectChecksums(reset);
});

test('a RST is bad at once, and silence is left to the timeout', () => {
  const { sent, outcomes, prober } = setUp();
  prober.send([due('none'), due('gre')], 0);
  prober.take([answer(sent[0]!, TcpFlag.Rst | TcpFlag.Ack)], 5);
  prober.tick(5_000);
  expect(outcomes).toEqual([['none', 7, false]]);
});

test('a target without a way to it fails its probe', () => {
  const { outcomes, prober } = setUp();
  prober.send([due('unknown')], 0);
  expect(outcomes).toEqual([['unknown', 7, false]]);
});

const back = { source: bytes('192.0.2.7'), destination: bytes('100.64.16.1') };
const portOf = (probe: Uint8Array): number => new DataView(probe.buffer).getUint16(24);

/** An echo reply or, with `quoted`, "port unreachable" about that packet. */
function icmpAnswer(identifier: number, quoted?: Uint8Array): Uint8Array {
  const reply = echoProbe(back, identifier, 0);
  reply[20] = quoted === undefined ? 0 : 3;
  return quoted === undefined ? reply : Buffer.concat([reply.subarray(0, 28), quoted.subarray(0, 28)]);
}

test('a UDP probe is a ping and a datagram that says HEALTH CHECK', () => {
  const { sent, prober } = setUp();
  prober.send([due('none', { type: 'udp' })], 0);
  expect(sent).toHaveLength(2);
  for (const packet of sent) {
    expectChecksums(packet);
    expect(Buffer.from(packet).toString('latin1')).toContain('HEALTH CHECK');
  }
  expect([sent[0]![9], sent[1]![9]]).toEqual([Protocol.Icmp, Protocol.Udp]);
});

test('a UDP target is good when it answers, or answers the ping and says nothing against the datagram', () => {
  const { sent, outcomes, prober } = setUp();
  prober.send([due('none', { type: 'udp' })], 0);
  prober.take([udpProbe(back, 80, portOf(sent[0]!))], 5);
  expect(outcomes).toEqual([['none', 7, true]]);
  prober.send([due('none', { type: 'udp' })], 1_000);
  prober.take([icmpAnswer(portOf(sent[2]!))], 1_005);
  prober.tick(1_400);
  expect(outcomes).toHaveLength(1);
  prober.tick(1_500);
  expect(outcomes).toEqual([
    ['none', 7, true],
    ['none', 7, true],
  ]);
});

test('port unreachable is bad although the ping is answered', () => {
  const { sent, outcomes, prober } = setUp();
  prober.send([due('none', { type: 'udp' })], 0);
  prober.take([icmpAnswer(portOf(sent[0]!)), icmpAnswer(0, sent[1])], 5);
  prober.tick(999);
  expect(outcomes).toEqual([['none', 7, false]]);
});

test('no byte string makes the reader throw, and strange ones answer nothing', () => {
  const { outcomes, prober } = setUp();
  prober.send([due('none'), due('gre', { type: 'icmp' })], 0);
  const seed = tcpProbe(back, { sourcePort: 80, destinationPort: 1, flags: 18, sequence: 1 });
  for (let bytesLeft = 0; bytesLeft < seed.length; bytesLeft++) prober.take([seed.subarray(0, bytesLeft)], 1);
  for (let round = 0; round < 20_000; round++) {
    const packet = crypto.getRandomValues(new Uint8Array(round % 80));
    packet[0] = (packet[0] ?? 0) & 1 ? 0x45 : 0x60;
    // Keep it from being a true answer: our ports are 10,001 and up.
    if (packet.length > 24) packet[22] = packet[24] = 0;
    prober.take([packet], 1);
  }
  expect(outcomes).toEqual([]);
});

// Everything that NAT64 sends, judged by others: tshark and scapy read a capture of some thousand outputs and check lengths and checksums.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ethernet, ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { hasTshark, pcap, tsharkFields } from '../../../../tools/testkit/capture.ts';
import type { Nat64 } from '../../src/nat64.ts';
import { embedded, fragmentHeader, icmp, ipv4, translator, withExtensions } from './translator.ts';

const directory = mkdtempSync(join(tmpdir(), 'nat64-'));
const file = join(directory, 'outputs.pcap');
let outputs = 0;
const PYTHONS = ['/usr/bin/python3', 'python3'];
const python = PYTHONS.find((name) => spawnSync(name, ['-c', 'import scapy.all']).status === 0);

/** Deterministic, so that a finding can be found again. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const next = numbers(64);
const address = (): string => `${[11, 23, 45, 100, 198][next(5)]}.${next(256)}.${next(256)}.${1 + next(254)}`;
const bytes = (most: number): Buffer => Buffer.from(Array.from({ length: next(most) }, () => next(256)));

function inputs(): Buffer[] {
  const packets: Buffer[] = [];
  for (let round = 0; round < 150; round++) {
    const [a, b] = [address(), address()];
    const [a6, b6] = [embedded(a), embedded(b)];
    const zero = { protocol: 17, bytes: udp(next(65_536), 4000, bytes(500)).bytes };
    const transports = [tcp({ payload: bytes(1200), mss: 1400 }), udp(next(65_536), 4000, bytes(1400))];
    for (const l4 of transports) {
      const short = { ...l4, bytes: l4.bytes.subarray(0, 200) };
      // tshark sums up a TCP segment that is cut in a quote as if it were whole; scapy judges the message around it.
      const quoted = l4.protocol === 6 ? ipv4(a, b, short) : ipv4(a, b, l4).subarray(0, 28 + next(520));
      packets.push(
        ipv4(a, b, l4, { tos: next(256), fragment: 0x4000 }),
        ipv4(a, b, short, { ttl: 1 }),
        ipPacket(a6, b6, l4),
        ipPacket(a6, b6, short, 1),
      );
      packets.push(ipv4(b, a, icmp(4, 3, next(16), next(65_536), quoted)));
      packets.push(
        ipv4(b, a, icmp(4, 11, 0, 0, ipv4(a, b, short))),
        ipv4(b, a, icmp(4, 12, 0, next(20) << 24, ipv4(a, b, short))),
      );
      packets.push(ipPacket(b6, a6, icmp(6, 1 + next(4), next(5), next(40), ipPacket(a6, b6, short))));
      packets.push(
        withExtensions(ipPacket(a6, b6, l4), [
          [60, Buffer.from([0, 0, 1, 4, 0, 0, 0, 0])],
          [44, fragmentHeader(0, false, 7)],
        ]),
      );
    }
    packets.push(ipv4(a, b, zero), ipv4(a, b, udp(1, 2, Buffer.alloc(1500 + next(3000)))));
    packets.push(
      ipv4(a, b, icmp(4, 8, 0, next(2 ** 32), bytes(900))),
      ipPacket(a6, b6, icmp(6, 129, 0, next(2 ** 32), bytes(900))),
    );
    packets.push(ipPacket(a6, b6, udp(1, 2, Buffer.alloc(1500))));
  }
  return packets;
}

/** Pings in two fragments, the later one first, and the probes of connections that were idle. */
function putTogether(stateful: Nat64): Uint8Array[] {
  const sent: Uint8Array[] = [];
  for (let round = 0; round < 100; round++) {
    const whole = ipPacket('2001:db8:2::1', embedded('203.0.113.1'), icmp(6, 128, 0, round << 16, bytes(900)));
    const cut = 40 + 8 * (1 + next(Math.max(1, (whole.length - 49) >> 3)));
    const part = (from: number, to: number): Buffer =>
      withExtensions(
        ipPacket('2001:db8:2::1', embedded('203.0.113.1'), { protocol: 58, bytes: whole.subarray(from, to) }),
        [[44, fragmentHeader(from - 40, to < whole.length, round)]],
      );
    if (cut >= whole.length) continue;
    sent.push(...[part(cut, whole.length), part(40, cut)].flatMap((one) => [...stateful.translate(one).packets]));
  }
  for (let port = 1; port <= 50; port++) {
    const syn = tcp({ sourcePort: port, destinationPort: 80, flags: 'S' });
    const out = stateful.translate(ipPacket('2001:db8:3::1', embedded('203.0.113.2'), syn), 0).packets[0] as Uint8Array;
    const back = tcp({ sourcePort: 80, destinationPort: Buffer.from(out).readUInt16BE(20), flags: 'SA' });
    sent.push(out, ...stateful.translate(ipPacket('203.0.113.2', '198.51.100.64', back), 0).packets);
  }
  for (let step = 0; step < 3; step++) stateful.expire(7_440_000);
  const probes = stateful.due(7_440_000);
  if (sent.length < 150 || probes.length !== 50) throw new Error(`${sent.length} packets and ${probes.length} probes`);
  return [...sent, ...probes];
}

beforeAll(async () => {
  const stateless = await translator({ allowNonGlobal: true });
  const network = await translator({ prefix: '2001:db8:122:344::/64', allowNonGlobal: true, mtu4: 1300 });
  const stateful = await translator({ allowNonGlobal: true, stateful: { pool: ['198.51.100.64'] } });
  const sent: Uint8Array[] = [];
  for (const packet of inputs()) {
    for (const nat64 of [stateless, network]) sent.push(...nat64.translate(packet).packets);
  }
  for (let index = 0; index < 500; index++) {
    const client = `2001:db8:1::${index.toString(16)}`;
    const l4 = index % 2 === 0 ? udp(4000, 53, bytes(900)) : tcp({ sourcePort: 4000, payload: bytes(900) });
    const out = stateful.translate(ipPacket(client, embedded('203.0.113.1'), l4)).packets[0] as Uint8Array;
    sent.push(out);
    const port = Buffer.from(out).readUInt16BE(20);
    sent.push(...stateful.translate(ipPacket('203.0.113.1', '198.51.100.64', udp(53, port, bytes(900)))).packets);
    sent.push(
      ...stateful.translate(ipPacket('192.0.2.9', '198.51.100.64', icmp(4, 3, 1, 0, Buffer.from(out)))).packets,
    );
  }
  sent.push(...putTogether(stateful));
  outputs = sent.length;
  const frames = sent.map((packet) => ethernet('02:00:00:00:00:01', '02:00:00:00:00:02', Buffer.from(packet)));
  writeFileSync(file, pcap(frames.map((frame) => ({ atMs: 0, bytes: frame }))));
}, 60_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('tshark finds no wrong checksum, also in what is quoted', (context) => {
  context.skip(!hasTshark(), 'needs tshark: apt-get install tshark');
  const layers = ['ip', 'tcp', 'udp', 'icmp', 'icmpv6'].map((name) => `${name}.checksum.status == "Bad"`);
  const wrong = tsharkFields(file, layers.join(' || '), ['frame.number', '_ws.col.Info']);
  expect(wrong).toEqual([]);
  expect(tsharkFields(file, 'ip || ipv6', ['frame.number']).length).toBe(outputs);
  for (const layer of ['tcp', 'udp', 'icmp', 'icmpv6'])
    expect(tsharkFields(file, `${layer}.checksum.status == "Good"`, ['frame.number']).length).toBeGreaterThan(400);
}, 60_000);

test('scapy computes the same lengths and checksums', (context) => {
  context.skip(python === undefined, 'needs scapy: apt-get install python3-scapy');
  const run = spawnSync(python as string, [new URL('judge.py', import.meta.url).pathname, file], { encoding: 'utf8' });
  expect(run.stdout.trim().split('\n')).toEqual([`right ${outputs}`]);
}, 120_000);

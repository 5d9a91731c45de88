// What the core makes of handshakes, numbers, options and headers, judged by others: tshark and scapy read a capture of it.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ethernet, ipPacket, udp } from '../../../../tools/testkit/build.ts';
import { hasTshark, pcap, tsharkFields } from '../../../../tools/testkit/capture.ts';
import {
  type ProvenHandshake,
  type SctpTools,
  type TcpTools,
  cookieKeys,
  createSctp,
  createTcp,
} from '../../src/index.ts';
import { segment } from '../meters-fixture.ts';

const directory = mkdtempSync(join(tmpdir(), 'meters-'));
const file = join(directory, 'outputs.pcap');
const PYTHONS = ['/usr/bin/python3', 'python3'];
const python = PYTHONS.find((name) => spawnSync(name, ['-c', 'import scapy.all']).status === 0);
const NOW = 1_790_000_000_000;
const ENDS = [
  ['198.51.100.1', '203.0.113.10'],
  ['2001:db8:c::1', '2001:db8:5::10'],
] as const;
const SCALES = [0, 7, 14];
const outputs: Uint8Array[] = [];
const damaged: Uint8Array[] = [];
const damage = (packet: Uint8Array): Uint8Array => {
  const copy = Uint8Array.from(packet);
  copy[copy.length - 1]! ^= 1;
  return copy;
};

/** Deterministic, so that a finding can be found again. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
const next = numbers(26);
const bytes = (most: number): Buffer => Buffer.from(Array.from({ length: next(most) }, () => next(256)));
const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

beforeAll(async () => {
  const tools = await createTcp();
  const keys = await cookieKeys(new Uint8Array(16), NOW);
  for (let round = 0; round < 200; round++) {
    for (const [from, to] of ENDS) {
      handshake(tools, keys, from, to, SCALES[round % 3] ?? 0);
      changes(tools, from, to);
    }
  }
  associations(await createSctp());
  // One of each kind that came damaged, so that a judge who says nothing is found out.
  const [segmentOut, datagram, association] = [outputs[0], outputs[6], outputs.at(-1)];
  for (const packet of [segmentOut, datagram, association]) damaged.push(damage(packet as Uint8Array));
  const frames = [...outputs, ...damaged].map((packet) =>
    ethernet('02:00:00:00:00:01', '02:00:00:00:00:02', Buffer.from(packet)),
  );
  writeFileSync(file, pcap(frames.map((frame) => ({ atMs: 0, bytes: frame }))));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** A SYN/ACK and the SYN for the target. */
function handshake(
  tools: TcpTools,
  keys: Awaited<ReturnType<typeof cookieKeys>>,
  from: string,
  to: string,
  scale: number,
): void {
  const list = `020405b40402080a${hex(next(2 ** 32), 8)}000000000303${hex(scale, 2)}`;
  const isn = next(2 ** 32);
  const syn = ipPacket(from, to, segment(list, { sequence: isn, sourcePort: 1024 + next(60_000) }));
  const synAck = Buffer.from(tools.synAck(syn, { keys, mss: 1440, nowMs: NOW })!);
  const header = from.includes(':') ? 40 : 20;
  const ack = segment(`0101080a00000001${hex(tools.readOptions(synAck).timestamps!.value, 8)}`, {
    flags: 'A',
    sequence: (isn + 1) >>> 0,
    acknowledgement: (synAck.readUInt32BE(header + 4) + 1) >>> 0,
    sourcePort: syn.readUInt16BE(header),
  });
  const proven = tools.checkCookie(ipPacket(from, to, ack), { keys }) as ProvenHandshake;
  outputs.push(synAck, proven.syn);
}

/** Numbers, addresses and headers that were changed under way. */
function changes(tools: TcpTools, from: string, to: string): void {
  const lists = [
    '0101080a0000100000002000',
    '0101080a00001000000020000101050a0000000100000002',
    '01080a0000100000002000',
    '',
  ];
  const packet = ipPacket(
    from,
    to,
    segment(lists[next(4)] ?? '', {
      flags: 'PA',
      payload: bytes(1000),
      sequence: next(2 ** 32),
      destinationPort: 9999,
    }),
  );
  const by = {
    sequence: next(2 ** 32),
    acknowledgment: next(2 ** 32),
    tsval: next(2 ** 32),
    tsecr: next(2 ** 32),
    windowShift: next(7),
  };
  outputs.push(tools.translate(packet, by));
  const usual = ipPacket(from, to, segment('0101080a0000100000002000', { flags: 'A', payload: bytes(1000) }));
  const marked = tools.insertToa(usual, { address: from, port: next(65_536), kind: from.includes(':') ? 253 : 200 })!;
  outputs.push(marked, tools.stripToa(marked).packet);
  const ends = { source: from, destination: to, sourcePort: 40_000, destinationPort: 443 };
  outputs.push(tools.insertProxyHeader(packet, ends)!);
  outputs.push(tools.insertProxyHeader(ipPacket(from, to, udp(1, 9998, bytes(900))), ends)!);
}

function associations(tools: SctpTools): void {
  for (let round = 0; round < 100; round++) {
    for (const [from, to] of ENDS) {
      const data = bytes(900);
      const chunk = Buffer.concat([Buffer.from(`0003${hex(data.length + 16, 4)}${'00000001'.repeat(3)}`, 'hex'), data]);
      const body = Buffer.concat([
        Buffer.from('9c40138800000001', 'hex'),
        Buffer.alloc(4),
        chunk,
        Buffer.alloc((4 - (chunk.length % 4)) % 4),
      ]);
      body.writeUInt32LE(tools.crc32c(body), 8);
      outputs.push(
        tools.rewritePorts(ipPacket(from, to, { protocol: 132, bytes: body }), {
          source: next(65_536),
          destination: next(65_536),
        }),
      );
    }
  }
}

test('tshark finds no wrong checksum but those of the damaged packets', (context) => {
  context.skip(!hasTshark(), 'needs tshark: apt-get install tshark');
  const layers = ['ip', 'tcp', 'udp'].map((name) => `${name}.checksum.status == "Bad"`);
  const wrong = [outputs.length + 1, outputs.length + 2].map((number) => [String(number)]);
  expect(tsharkFields(file, layers.join(' || '), ['frame.number'])).toEqual(wrong);
  const good = (layer: string): number =>
    tsharkFields(file, `${layer}.checksum.status == "Good"`, ['frame.number']).length;
  expect([good('tcp'), good('udp')]).toEqual([2400, 400]);
}, 60_000);

test('tshark reads scale and SACK of the client out of our timestamp, as it does with the cookies of Linux', (context) => {
  context.skip(!hasTshark(), 'needs tshark: apt-get install tshark');
  const fields = [
    'tcp.options.timestamp.tsval',
    'tcp.options.wscale.shift',
    'tcp.options.mss_val',
    'tcp.window_size_value',
  ];
  const rows = tsharkFields(file, 'tcp.flags.syn == 1 && tcp.flags.ack == 1', fields);
  expect(rows.length).toBe(401);
  for (const [index, [tsval, scale, mss, window]] of rows.slice(0, 400).entries()) {
    expect([scale, mss, window]).toEqual(['7', '1440', '16384']);
    expect(Number(tsval) & 31).toBe(16 + (SCALES[Math.floor(index / 2) % 3] ?? 0));
  }
}, 60_000);

test('tshark reads the PROXY headers: the ends that were written', (context) => {
  context.skip(!hasTshark(), 'needs tshark: apt-get install tshark');
  const fields = ['proxy.src.ipv4', 'proxy.src.ipv6', 'proxy.srcport', 'proxy.dstport', 'proxy.v2.length'];
  const rows = tsharkFields(file, 'proxy.v2.version', fields);
  const texts = new Set(rows.map((row) => row.join(' ')));
  expect([...texts].toSorted()).toEqual([' 2001:db8:c::1 40000 443 36', '198.51.100.1  40000 443 12']);
  expect(rows.length).toBeGreaterThanOrEqual(400);
}, 60_000);

test('scapy computes the same lengths, checksums and CRCs, and reads the same options', (context) => {
  context.skip(python === undefined, 'needs scapy: apt-get install python3-scapy');
  const run = spawnSync(python as string, [new URL('judge.py', import.meta.url).pathname, file], {
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  const lines = run.stdout.trim().split('\n');
  const synAcks = lines.filter((line) => line.startsWith('synack'));
  const verdicts = lines
    .filter((line) => !line.startsWith('synack'))
    .map((line) => line.split(' ').slice(0, 2).join(' '));
  const wrong = damaged.map((_, index) => expect.stringMatching(new RegExp(`^${outputs.length + 1 + index} `)));
  expect(verdicts).toEqual([...wrong, `right ${outputs.length}`]);
  expect(synAcks.length).toBe(401);
  for (const line of synAcks.slice(0, 400))
    expect(line).toMatch(
      / 16384 \[\('MSS', 1440\), \('SAckOK', b''\), \('Timestamp', \(\d+, \d+\)\), \('NOP', None\), \('WScale', 7\)\]$/,
    );
}, 120_000);

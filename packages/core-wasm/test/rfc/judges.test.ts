// Everything that directors send in the fixture rows and in random walks of the fuzzing campaign (both families; TCP, UDP, SCTP, ICMP and its
// errors; GRE and IP in IP; fragments cut inside tunnels; full NAT; EIPs), in one capture that tshark and scapy judge: every checksum, outer and inner.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hasTshark, pcap, tsharkFields } from '../../../../tools/testkit/capture.ts';
import { Tally, runEpoch } from '../../fuzz/campaign.ts';
import { ROWS, runRow } from './rows.ts';

const directory = mkdtempSync(join(tmpdir(), 'judges-'));
const file = join(directory, 'sent.pcap');
const python = ['/usr/bin/python3', 'python3'].find((name) => spawnSync(name, ['-c', 'import scapy.all']).status === 0);
/** Of the random walks; scapy reads some thousand frames in a few seconds. */
const FRAMES_MAX = 3000;
const frames: Buffer[] = [];
let fromRows = 0;

const LAYERS = ['ip', 'tcp', 'udp', 'icmp', 'icmpv6', 'sctp'];
const FIELDS = [
  'frame.number',
  'frame.protocols',
  'tcp.checksum',
  'icmp.type',
  'icmpv6.type',
  ...LAYERS.map((name) => `${name}.checksum.status`),
];
/** Fragments of many datagrams with one identification are here, so each stands alone. */
const PREFERENCES = ['ip.defragment:FALSE', 'ipv6.defragment:FALSE', 'sctp.checksum:CRC 32c'];
const BAD = '0';

/** What an error quotes may be cut, or have come in wrong; all that encloses it is ours. tshark calls a TCP checksum of ffff wrong (RFC 1624). */
function isWrong(row: Record<string, string>): boolean {
  const isError4 = ['3', '4', '11', '12'].includes(row['icmp.type'] ?? '');
  const isError = isError4 || ['1', '2', '3', '4'].includes(row['icmpv6.type'] ?? '');
  return LAYERS.some((name) => {
    const statuses = (row[`${name}.checksum.status`] ?? '').split(',');
    if (isError && (name === 'tcp' || name === 'udp')) return false;
    if (name === 'tcp' && row['tcp.checksum'] === '0xffff') return false;
    return (isError4 && name === 'ip' ? statuses.slice(0, -1) : statuses).includes(BAD);
  });
}

beforeAll(async () => {
  for (const row of ROWS) {
    if (row.isDamaged === true) continue;
    for (const burst of await runRow(row, 'plain'))
      frames.push(...burst.filter(({ verdict }) => verdict === 'Forward').map(({ frame }) => frame));
  }
  fromRows = frames.length;
  const onSent = (frame: Uint8Array): void => {
    if (frames.length < fromRows + FRAMES_MAX) frames.push(Buffer.from(frame));
  };
  await runEpoch(
    { walk: 'director', seed: 11, epoch: 2, executions: 30_000, artefacts: ['plain'], judgeOnceIn: 2, onSent },
    new Tally(),
  );
  // The last one is damaged on purpose: a judge that does not see it proves nothing.
  const isPlainTcp = (frame: Buffer): boolean =>
    frame.readUInt8(23) === 47 &&
    frame.readUInt32BE(42) >>> 16 === 0x4500 &&
    frame.readUInt32BE(48) >>> 16 === 0x4000 &&
    frame.readUInt8(51) === 6;
  const damaged = Buffer.from(frames.find(isPlainTcp) as Buffer);
  damaged.writeUInt8(damaged.readUInt8(70) ^ 1, 70);
  frames.push(damaged);
  writeFileSync(file, pcap(frames.map((frame) => ({ atMs: 0, bytes: frame }))));
}, 60_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('rows and random walks have sent enough to be judged', () => {
  expect(fromRows).toBeGreaterThan(250);
  expect(frames.length).toBe(fromRows + FRAMES_MAX + 1);
});

test('tshark finds no wrong checksum', (context) => {
  context.skip(!hasTshark(), 'needs tshark: apt-get install tshark');
  const read = tsharkFields(file, 'eth', FIELDS, PREFERENCES).map(
    (row) => Object.fromEntries(FIELDS.map((name, index) => [name, row[index] ?? ''])) as Record<string, string>,
  );
  expect(read.length).toBe(frames.length);
  expect(read.filter((row) => isWrong(row)).map((row) => row['frame.number'])).toEqual([`${frames.length}`]);
  const counted = (protocols: RegExp, status: string): number =>
    read.filter(
      (row) => protocols.test(row['frame.protocols'] ?? '') && (row[`${status}.checksum.status`] ?? '').endsWith('1'),
    ).length;
  for (const [protocols, status, least] of [
    [/gre:ip:tcp/, 'tcp', 300],
    [/gre:ip:udp/, 'udp', 100],
    [/ip:ip:tcp|ip:ipv6:tcp|ipv6:ip:tcp|ipv6:ipv6:tcp/, 'tcp', 20],
    [/gre:ipv6:tcp/, 'tcp', 20],
    [/ethertype:ip:tcp/, 'tcp', 100],
    [/icmp/, 'icmp', 100],
    [/icmpv6/, 'icmpv6', 20],
    [/sctp/, 'sctp', 20],
    [/gre:ip:data/, 'ip', 30],
  ] as const)
    expect([protocols.source, counted(protocols, status) >= least]).toEqual([protocols.source, true]);
}, 60_000);

test('scapy finds none either, by its own sums and pseudo headers', (context) => {
  context.skip(python === undefined, 'needs scapy: apt-get install python3-scapy');
  const run = spawnSync(python as string, [new URL('judge.py', import.meta.url).pathname, file], { encoding: 'utf8' });
  expect(run.stderr).not.toContain('Traceback');
  const lines = run.stdout.trim().split('\n');
  expect(lines.slice(0, -1)).toEqual([`packet ${frames.length} TCP`]);
  const right = Object.fromEntries((lines.at(-1) ?? '').split(' ').map((pair) => pair.split('=')));
  for (const [kind, least] of [
    ['outer-IPv4', 800],
    ['outer-IPv6', 50],
    ['IPv4', 1500],
    ['IPv6', 100],
    ['TCP', 500],
    ['UDP', 300],
    ['ICMP', 100],
    ['ICMPv6', 20],
    ['SCTP', 3],
    ['fragment', 100],
  ] as const)
    expect([kind, Number(right[kind] ?? 0) >= least]).toEqual([kind, true]);
}, 120_000);

// A capture of a whole director over a memory port, written to a file and read back by tshark: frames, comments and directions are its words.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LookFilter, type LookFrame, type LookQuery } from '@openclb/model';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { SYN, complete, referenceImage } from '../../test/director-fixture.ts';
import { type Director, startDirector } from '../director.ts';
import { silentLog } from '../log.ts';
import { createPcapWriter } from '../port/pcapng.ts';

let director: Director;
let folder: string;
let sent = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'clb-capture-'));
  director = await startDirector({
    id: 'ld1',
    device: 'memory',
    port: 'memory',
    flows: 4_096,
    plan: { portChunks: 256, maglevSlots: 65_536 },
    nextHops: { mac: '02:00:00:00:00:fe' },
    onFrame: () => void sent++,
    log: silentLog,
    image: referenceImage(1),
  });
});
afterAll(async () => {
  await director.close();
  rmSync(folder, { recursive: true });
});

function syn(port: number, vport = 80): Buffer {
  const frame = Buffer.from(SYN);
  frame.writeUInt16BE(port, 34);
  frame.writeUInt16BE(vport, 36);
  return complete(frame);
}

/** Deliver these packets again and again until `count` frames of the capture are there. */
async function captured(filter: LookFilter, frames: readonly Buffer[], count: number): Promise<LookFrame[]> {
  const session = `${Math.floor(Math.random() * 1e9)}`;
  const found: LookFrame[] = [];
  let cursor: number | undefined;
  const page = async (): Promise<void> => {
    const query: LookQuery = { what: 'capture', session, filter, ...(cursor === undefined ? {} : { cursor }) };
    const { rows, next, error } = await director.look(query);
    if (error !== undefined) throw new Error(error);
    cursor = next ?? 0;
    found.push(...(rows as unknown as LookFrame[]));
  };
  await page();
  await vi.waitUntil(
    async () => {
      director.deliver(frames);
      await new Promise((resolve) => setTimeout(resolve, 20));
      await page();
      return found.length >= count;
    },
    { timeout: 5_000 },
  );
  return found;
}

test('tshark reads packets as they came and as they left, with verdict, reason and the facts of the walk', async () => {
  const [first, second, third] = await captured({}, [syn(40_000), syn(40_001, 81)], 3);
  const path = join(folder, 'all.pcapng');
  const writer = createPcapWriter(path);
  for (const { device, frame, at, comment, direction } of [first!, second!, third!])
    writer.write(device, Buffer.from(frame, 'base64'), BigInt(at), { comments: [comment], direction });
  writer.close();
  const fields = ['ip.dst', 'tcp.dstport', 'gre.key', 'frame.packet_flags_direction', 'frame.comment'];
  const text = execFileSync('tshark', ['-r', path, '-T', 'fields', ...fields.flatMap((field) => ['-e', field])], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const rows = text
    .trimEnd()
    .split('\n')
    .map((line) => line.split('\t'));
  expect(rows.map((row) => [row[0], row[1], row[2] === '' ? '' : Number(row[2])])).toEqual([
    ['203.0.113.10', '80', ''],
    ['10.255.0.11,10.0.0.2', '8080', 100],
    ['203.0.113.10', '81', ''],
  ]);
  expect(rows[0]![4]).toBe(rows[1]![4]);
  expect(rows[1]![4]).toContain('verdict=forward reason=None walk=Inbound');
  expect(rows[1]![4]).toContain('target="tgt-a 10.0.0.2:8080"');
  expect(rows[1]![4]).toMatch(/tunnel=10\.254\.1\.1>10\.255\.0\.11\/100 flags=.*Encapsulated/);
  expect(rows[2]![4]).toContain('verdict=drop reason=NoListener');
});

test('a filter leaves out what does not match', async () => {
  const frames = [syn(40_002), syn(40_003, 81)];
  const drops = await captured({ verdict: 'drop', reason: 'nolistener' }, frames, 2);
  expect(drops.every(({ comment }) => comment.startsWith('verdict=drop reason=NoListener'))).toBe(true);
  const forwarded = await captured({ vip: '203.0.113.10:80', target: '10.0.0.2', protocol: 'tcp' }, frames, 2);
  expect(forwarded.every(({ comment }) => comment.startsWith('verdict=forward'))).toBe(true);
  const { error } = await director.look({ what: 'capture', session: '1', filter: { reason: 'Nonsense' } });
  expect(error).toContain('"Nonsense" is none of');
});

test('a capture that another one took over is told so, and packets pass all the while', async () => {
  await director.look({ what: 'capture', session: '1' });
  await director.look({ what: 'capture', session: '2' });
  expect((await director.look({ what: 'capture', session: '1', cursor: 0 })).error).toContain('another one has begun');
  const before = sent;
  for (let round = 0; round < 20; round++)
    director.deliver(Array.from({ length: 64 }, (_, index) => syn(41_000 + index)));
  await vi.waitUntil(() => sent >= before + 1_280, { timeout: 5_000 });
  const { rows, missed = 0 } = await director.look({ what: 'capture', session: '2', cursor: 0 });
  expect(rows.length).toBeGreaterThan(0);
  expect(rows.length).toBeLessThanOrEqual(256);
  expect(missed).toBeGreaterThanOrEqual(0);
});

// A whole director over a memory port: its worker thread, tables, link and disk are the real ones, only the wire is an array.
// The reference packet of data-plane.md P39 is written out here byte by byte, so a director that agrees with itself alone fails.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { SYN, bytes, complete, inverse, referenceImage as image } from '../test/director-fixture.ts';
import { type Director, type DirectorOptions, startDirector } from './director.ts';
import { unaccounted } from './counters.ts';
import { HEARTBEAT_PORT, HeartbeatStatus, writeHeartbeat } from './heartbeat.ts';
import { type Log, silentLog } from './log.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

let stateDir: string;
let sent: Buffer[];
let director: Director | undefined;

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'clb-director-'));
  sent = [];
});
afterEach(async () => {
  await director?.close();
  director = undefined;
  rmSync(stateDir, { recursive: true });
});

async function start(more: Partial<DirectorOptions> = {}): Promise<Director> {
  director = await startDirector({
    id: 'ld1',
    stateDir,
    device: 'memory',
    port: 'memory',
    flows: 1_024,
    plan: { portChunks: 256, maglevSlots: 65_536 },
    nextHops: { mac: '02:00:00:00:00:fe' },
    onFrame: (frame) => void sent.push(Buffer.from(frame)),
    log: silentLog,
    ...more,
  });
  return director;
}

/** Sends a frame and waits for the `count`th frame that leaves. */
async function forward(frame: Buffer, count = sent.length + 1): Promise<Buffer> {
  director!.deliver([frame]);
  await vi.waitFor(() => expect(sent.length).toBeGreaterThanOrEqual(count), { timeout: 2_000, interval: 2 });
  return sent[count - 1]!;
}

test('the reference packet leaves as data-plane.md P39 says, byte by byte', async () => {
  await start({ image: image(1) });
  const frame = await forward(complete(SYN));
  expect(hex(frame.subarray(0, 14))).toBe('0200000000fe0200000000000800');
  const outer = frame.subarray(14, 34);
  expect(hex(outer.subarray(0, 10)) + hex(outer.subarray(12))).toBe('4500005800004000402f0afe01010aff000b');
  expect(inverse(outer)).toBe(0);
  expect(hex(frame.subarray(34, 42))).toBe('2000080000000064');
  const expected = Buffer.concat([Buffer.alloc(14), SYN.subarray(14)]);
  expected[22] = 63;
  bytes('0a000002').copy(expected, 30);
  expected.writeUInt16BE(8080, 36);
  // The port is 1,500 bytes and the tunnel takes 28: 1,472 − 40.
  expected.writeUInt16BE(1432, 56);
  expect(hex(frame.subarray(42))).toBe(hex(complete(expected).subarray(14)));
});

/** The target's SYN/ACK as its host sends it: GRE, key 100, from H to T. */
function reply(): Buffer {
  const inner = Buffer.from(SYN);
  bytes('0a000002c6336401').copy(inner, 26);
  bytes('1f909c40').copy(inner, 34);
  inner[47] = 0x12;
  const outer = bytes('4500 0058 0000 4000 402f 0000 0aff000b 0afe0101');
  outer.writeUInt16BE(inverse(outer), 10);
  return Buffer.concat([SYN.subarray(0, 14), outer, bytes('2000080000000064'), complete(inner).subarray(14)]);
}

test('the reply comes out of its tunnel with the VIP as its source', async () => {
  await start({ image: image(1) });
  await forward(complete(SYN));
  const frame = await forward(reply());
  expect(frame).toHaveLength(74);
  expect(hex(frame.subarray(26, 38))).toBe('cb00710ac633640100509c40');
  expect(frame[22]).toBe(63);
  expect(hex(complete(frame))).toBe(hex(frame));
  const { 'listener.lbl-a.packetsIn': packetsIn, 'target.tgt-a.packetsOut': packetsOut } = director!.counters();
  expect([packetsIn, packetsOut]).toEqual([1, 1]);
});

test('an image that does not fit is refused, names the cure, and the last one keeps serving', async () => {
  await start({ image: image(1) });
  const listener = image(2).listeners[0]!;
  const listeners = Array.from({ length: 5_000 }, (_, index) => ({
    ...listener,
    id: (index + 1).toString(16).padStart(16, '0'),
    vport: index + 1,
  }));
  await expect(director!.apply(image(2, { listeners }))).rejects.toThrow('raise listeners');
  expect(director!.applied!.generation.revision).toBe(1);
  await forward(complete(SYN));
});

test('a director without a controller serves from the image on disk', async () => {
  await start({ image: image(7) });
  await director!.close();
  await start();
  expect(director!.applied!.generation.revision).toBe(7);
  expect(hex((await forward(complete(SYN))).subarray(30, 34))).toBe('0aff000b');
});

test('without any image nothing is forwarded and every packet is counted with its reason', async () => {
  await start();
  director!.deliver([complete(SYN), complete(SYN)]);
  await vi.waitFor(() => expect(director!.counters()['core.reason.NoImage']).toBe(2));
  expect(sent).toEqual([]);
  expect(unaccounted(director!.counters())).toBe(0);
});

test('a worker that dies is remade: it forwards again, its flows are gone, its death is counted', async () => {
  await start({ image: image(1) });
  await forward(complete(SYN));
  expect(director!.counters()['core.flowsActive']).toBe(1);
  director!.trapWorker();
  await vi.waitFor(() => expect(director!.counters()['worker.restarts']).toBe(1), { timeout: 5_000 });
  await vi.waitFor(
    () => {
      director!.deliver([complete(SYN)]);
      expect(sent.length).toBeGreaterThan(1);
    },
    { timeout: 5_000, interval: 50 },
  );
  expect(director!.counters()['core.flowsActive']).toBe(1);
  expect(hex(sent.at(-1)!.subarray(30, 34))).toBe('0aff000b');
});

test('a worker that dies again and again is given up', async () => {
  const reasons: string[] = [];
  await start({ image: image(1), onGiveUp: (error) => void reasons.push(error.message) });
  for (let death = 1; death <= 5; death++) {
    director!.trapWorker();
    await vi.waitFor(() => expect(director!.counters()['worker.deaths']).toBe(death), { timeout: 5_000 });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  expect(reasons).toEqual([expect.stringContaining('died 5 times within a minute')]);
});

/** A heartbeat from the announcer at 10.255.0.254 to the probe address. */
function heartbeat(nonce: number): Buffer {
  const frame = Buffer.alloc(14 + 20 + 8 + 16);
  SYN.copy(frame, 0, 0, 14);
  bytes('4500 002c 0000 4000 4011 0000 0aff00fe 40').copy(frame, 14);
  bytes('64401001').copy(frame, 30);
  frame.writeUInt16BE(inverse(frame.subarray(14, 34)), 24);
  frame.writeUInt16BE(5555, 34);
  frame.writeUInt16BE(HEARTBEAT_PORT, 36);
  frame.writeUInt16BE(24, 38);
  writeHeartbeat(new DataView(frame.buffer, frame.byteOffset), 42, nonce);
  const pseudo = Buffer.concat([frame.subarray(26, 34), bytes('0011 0018')]);
  frame.writeUInt16BE(inverse(Buffer.concat([pseudo, frame.subarray(34)])), 40);
  return frame;
}

test('the packet worker answers the heartbeat, first as serving and then as draining, with a valid checksum', async () => {
  await start({ image: image(1) });
  for (const status of [HeartbeatStatus.Serving, HeartbeatStatus.Draining]) {
    const frame = await forward(heartbeat(77));
    expect(hex(frame.subarray(0, 12))).toBe('0200000000fe020000000000');
    expect(hex(frame.subarray(26, 38))).toBe(`644010010aff00fe${HEARTBEAT_PORT.toString(16)}15b3`);
    expect([frame[47], frame.readUInt32BE(54)]).toEqual([status, 77]);
    expect(inverse(Buffer.concat([frame.subarray(26, 34), bytes('0011 0018'), frame.subarray(34)]))).toBe(0);
    await director!.drain();
  }
});

test('a drain is taken back by its undo, and a worker that is remade meanwhile still drains', async () => {
  await start({ image: image(1) });
  const status = async (): Promise<number> => (await forward(heartbeat(77)))[47]!;
  await director!.drain();
  expect([director!.isDraining, await status()]).toEqual([true, HeartbeatStatus.Draining]);
  director!.trapWorker();
  await vi.waitFor(() => expect(director!.counters()['worker.restarts']).toBe(1), { timeout: 5_000 });
  await vi.waitFor(async () => expect(await status()).toBe(HeartbeatStatus.Draining), { timeout: 5_000 });
  await director!.drain(false);
  expect([director!.isDraining, await status()]).toEqual([false, HeartbeatStatus.Serving]);
});

test('a dead target is passed over and used again when it answers, by probes that travel the tunnel', async () => {
  const check = { type: 'tcp', intervalMs: 100, timeoutMs: 80, healthyThreshold: 1, unhealthyThreshold: 2 } as const;
  await start({ image: image(1, { groups: [{ ...image(1).groups[0]!, check }] }) });
  await vi.waitFor(() => expect(sent.length).toBeGreaterThan(0));
  const probe = sent[0]!;
  expect(hex(probe.subarray(23, 24)) + hex(probe.subarray(26, 42))).toBe('2f0afe01010aff000b2000080000000064');
  expect(hex(probe.subarray(54, 62))).toBe('644010010a000002');
  await vi.waitFor(() => expect(director!.health()).toEqual([{ target: 'tgt-a', group: 'lbtg-a', state: 'dead' }]));
  const answering = setInterval(() => sent.splice(0).forEach((frame) => director!.deliver([synAck(frame)])), 5);
  await vi.waitFor(() => expect(director!.health()[0]!.state).toBe('alive'));
  clearInterval(answering);
});

/** What the VM and its host make of a probe: addresses and ports turned round, SYN/ACK, the same tunnel back. */
function synAck(frame: Buffer): Buffer {
  const back = Buffer.from(frame);
  for (const [a, b, count] of [
    [26, 30, 4],
    [54, 58, 4],
    [62, 64, 2],
  ] as const) {
    frame.copy(back, a, b, b + count);
    frame.copy(back, b, a, a + count);
  }
  back.writeUInt32BE((frame.readUInt32BE(66) + 1) >>> 0, 70);
  back[75] = 0x12;
  const inner = complete(Buffer.concat([SYN.subarray(0, 14), back.subarray(42)]));
  return Buffer.concat([back.subarray(0, 42), inner.subarray(14)]);
}

test('explain tells the walk that the packet then takes, and leaves no flow behind', async () => {
  await start({ image: image(1) });
  const query = {
    protocol: 'tcp',
    source: '198.51.100.1',
    sourcePort: 40_000,
    destination: '203.0.113.10',
    destinationPort: 80,
  } as const;
  const answer = await director!.explain(query);
  expect([answer.verdict, answer.generation.revision]).toEqual(['forward', 1]);
  const told = answer.steps.map(({ step, text }) => `${step}: ${text}`).join('\n');
  for (const word of [
    'lbl-a',
    'miss',
    'Maglev slot',
    'tgt-a',
    'ports 40000 → 8080',
    'Gre with key 100',
    '10.255.0.11',
    'host1',
  ]) {
    expect(told).toContain(word);
  }
  expect(director!.counters()['core.flowsActive']).toBe(0);
  await forward(complete(SYN));
  expect(
    (await director!.explain({ ...query, flags: 'ack' })).steps.find(({ step }) => step === 'track')!.text,
  ).toContain('hit');
  expect((await director!.explain({ ...query, destinationPort: 81 })).reason).toBe('NoListener');
  expect(sent).toHaveLength(1);
});

test('a director that cannot begin with its image leaves nothing behind', async () => {
  const handles = (): string[] =>
    process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout' || kind === 'MessagePort');
  const before = handles().length;
  const bad = { ...image(1), listeners: [{ ...image(1).listeners[0]!, group: '00000000000000ff' }] };
  await expect(start({ image: bad })).rejects.toThrow('00000000000000ff');
  await vi.waitFor(() => expect(handles().length).toBeLessThanOrEqual(before));
  await start({ image: image(1) });
  expect(handles().length).toBeGreaterThan(before);
});

test('a port that cannot be opened is an error that says which and why', async () => {
  await expect(
    start({ port: 'packet', device: 'no-such-dev', nextHops: { mac: '02:00:00:00:00:fe' } }),
  ).rejects.toThrow('no-such-dev');
});

test('nothing that arrives stops a director or goes uncounted', async () => {
  const errors: string[] = [];
  const log: Log = { ...silentLog, error: (_data, message) => void errors.push(message) };
  await start({ image: image(1), log });
  const seeds = [complete(SYN), reply(), heartbeat(1)];
  const frames = Array.from({ length: 5_000 }, (_, index) => {
    const frame = Buffer.from(seeds[index % seeds.length]!);
    for (let change = 0; change < 1 + (index % 4); change++)
      frame[Math.floor(Math.random() * frame.length)] = index & 255;
    return frame.subarray(0, index % 7 === 0 ? index % frame.length : frame.length);
  });
  for (let from = 0; from < frames.length; from += 50) {
    director!.deliver(frames.slice(from, from + 50));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await vi.waitFor(() => expect(director!.counters()['core.received']).toBeGreaterThan(4_000), { timeout: 5_000 });
  expect(unaccounted(director!.counters())).toBe(0);
  expect(errors).toEqual([]);
  expect(director!.counters()['worker.restarts']).toBe(0);
});

// Metrics of a whole director over a memory port, scraped over HTTP. The test sends and catches the frames, so it knows what the account must say.
import { silentLog, startDirector } from '@openclb/l4';
import { expect, test, vi } from 'vitest';
import { SYN, complete, referenceImage } from '../packages/l4/test/director-fixture.ts';
import { nodeFamilies } from '../packages/cli/src/metrics/packet.ts';
import { serveMetrics } from '../packages/cli/src/metrics/serve.ts';

/** Samples by name and labels, read by the grammar of the format. */
function parse(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  for (const line of text.trimEnd().split('\n')) {
    if (/^# (HELP|TYPE) [a-zA-Z_:][a-zA-Z0-9_:]* /.test(line)) continue;
    const [, name, value] = /^([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{.*\})?) (\S+)$/.exec(line) ?? [];
    if (name === undefined || samples.has(name)) throw new Error(`not a sample, or twice: ${line}`);
    samples.set(name, Number(value));
  }
  return samples;
}

const sumOf = (samples: Map<string, number>, name: string): number =>
  [...samples].reduce((sum, [key, value]) => (key === name || key.startsWith(`${name}{`) ? sum + value : sum), 0);

function syn(port: number, change: (frame: Buffer) => void = () => undefined): Buffer {
  const frame = Buffer.from(SYN);
  frame.writeUInt16BE(port, 34);
  const done = complete(frame);
  change(done);
  return done;
}

/** An echo request to the VIP, which the core answers in place. */
function echo(): Buffer {
  const frame = Buffer.from(SYN.subarray(0, 42));
  frame.writeUInt16BE(28, 16);
  frame[23] = 1;
  frame.writeUInt16BE(0, 24);
  frame.writeUInt32BE(0x0800_f7ff, 34);
  frame.writeUInt32BE(0, 38);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += frame.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  frame.writeUInt16BE(~sum & 0xffff, 24);
  return frame;
}

test('every packet on both wires is accounted for: forwarded, answered, dropped, left to the kernel', async () => {
  let sent = 0;
  const director = await startDirector({
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
  const server = await serveMetrics('127.0.0.1:0', () => nodeFamilies(director.counters()));
  try {
    const frames = [
      ...Array.from({ length: 7 }, (_, index) => syn(40_000 + index)),
      ...Array.from({ length: 3 }, () => echo()),
      // No listener there, an address that is not ours, a header cut short.
      syn(50_000, (frame) => frame.writeUInt16BE(81, 36)),
      complete(syn(50_001, (frame) => frame.writeUInt8(99, 33))),
      syn(50_002).subarray(0, 30),
    ];
    director.deliver(frames);
    await vi.waitUntil(() => director.counters()['core.received'] === frames.length, { timeout: 5_000 });
    await vi.waitUntil(() => sent === 10, { timeout: 5_000 });
    const answer = await fetch(server.url);
    expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    const samples = parse(await answer.text());
    expect(sumOf(samples, 'clb_packets_received_total')).toBe(frames.length);
    expect(sumOf(samples, 'clb_packets_transmitted_total')).toBe(10);
    expect(samples.get('clb_packets_generated_total{worker="0"}')).toBe(3);
    expect(samples.get('clb_packets_consumed_total{worker="0",reason="Answered"}')).toBe(3);
    const sides = ['dropped', 'consumed', 'punted'].map((one) => sumOf(samples, `clb_packets_${one}_total`));
    expect(sides[0]).toBeGreaterThanOrEqual(2);
    const out = sides.reduce((a, b) => a + b, 10) + sumOf(samples, 'clb_packets_held');
    expect(out).toBe(frames.length + 3);
    expect(samples.get('clb_listener_packets_total{listener="lbl-a",direction="in"}')).toBe(7);
    expect(samples.get('clb_flows_active{worker="0"}')).toBe(7);
    expect(samples.get('process_resident_memory_bytes')).toBeGreaterThan(1e6);
    expect((await fetch(server.url.replace('/metrics', '/other'))).status).toBe(404);
  } finally {
    await server.close();
    await director.close();
  }
});

// What every kind of port must do. Kernel kinds get a network namespace of this thread; it vanishes with the test.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { frameOf, numberOf } from './frames.ts';
import { pollPorts } from './open.ts';
import { PORT_KINDS, type PortKindName } from './port.ts';
import { burst, DEVICE, isOurs, makeVeth, openRig, PEER, recordOf, type Rig } from './rigs.ts';
import { enterNamespace, refusalOf } from './test-namespace.ts';

const namespace = enterNamespace();
const DEADLINE_MS = 2_000;

/** Runs bursts until `count` of our frames have come in (or, in a flood, been lost), or the deadline. */
async function take(
  rig: Rig,
  count: number,
  each: (record: ReturnType<typeof recordOf>) => void,
  isFlood = false,
): Promise<Uint8Array[]> {
  const frames: Uint8Array[] = [];
  const lostBefore = isFlood ? 0 : rig.lost();
  const end = performance.now() + DEADLINE_MS;
  while (frames.length + rig.lost() - lostBefore < count && performance.now() < end) {
    pollPorts([rig.port], 10);
    frames.push(...burst(rig.core, rig.port, each).filter((frame) => isOurs(frame, rig.port.layer)));
  }
  return frames;
}

async function sentBy(rig: Rig, count: number): Promise<Uint8Array[]> {
  const frames: Uint8Array[] = [];
  const end = performance.now() + DEADLINE_MS;
  while (frames.length < count && performance.now() < end) {
    frames.push(...(await rig.sent()));
    if (frames.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return frames;
}

beforeAll(() => {
  if (namespace.isInside) makeVeth(DEVICE, PEER);
});
afterAll(() => namespace.leave());

function whyNot(kind: PortKindName): string | null {
  if (kind === 'memory' || kind === 'pcap') return null;
  return namespace.isInside ? refusalOf(kind) : namespace.why;
}

for (const kind of PORT_KINDS) {
  describe(`port ${kind}`, () => {
    let rig: Rig;
    beforeEach(async (context) => {
      const why = whyNot(kind);
      context.skip(why !== null, why ?? '');
      rig = await openRig(kind);
    });
    afterEach(() => rig?.close());

    const layer = (): 2 | 3 => rig.port.layer;
    const longest = (): number => rig.port.mtu + (layer() === 2 ? 14 : 0);
    const frames = (count: number, bytes: number): Uint8Array[] =>
      Array.from({ length: count }, (_, number) => frameOf(number, bytes, layer()));

    test('every frame comes in byte by byte as it was sent, whatever its length', async () => {
      const lengths = [60, 61, 63, 64, 590, 1200, longest() - 1, longest()];
      const outside = lengths.map((bytes, number) => frameOf(number, bytes, layer()));
      await rig.send(outside);
      const inside = await take(rig, lengths.length, (record) => record.drop());
      expect(inside).toEqual(outside);
    });

    test('a forwarded frame goes out byte by byte as it came in', async () => {
      const outside = [60, 333, longest()].map((bytes, number) => frameOf(number, bytes, layer()));
      await rig.send(outside);
      await take(rig, outside.length, (record) => record.forward(0));
      expect(await sentBy(rig, outside.length)).toEqual(outside);
    });

    test('400 frames at once lose nothing and keep their order, in and out', async () => {
      await rig.send(frames(400, 120));
      const inside = await take(rig, 400, (record) => record.forward(0));
      expect(inside.map((frame) => numberOf(frame, layer()))).toEqual(Array.from({ length: 400 }, (_, i) => i));
      const outside = await sentBy(rig, 400);
      expect(outside.map((frame) => numberOf(frame, layer()))).toEqual(Array.from({ length: 400 }, (_, i) => i));
      expect(rig.lost()).toBe(0);
    });

    test('chunks come back: many times more frames pass than there are chunks', async () => {
      let passed = 0;
      let forwarded = 0;
      for (let round = 0; round < 20; round++) {
        await rig.send(frames(200, 100));
        const inside = await take(rig, 200, (record) => (round % 2 === 0 ? record.forward(0) : record.drop()));
        passed += inside.length;
        forwarded += round % 2 === 0 ? (await sentBy(rig, 200)).length : 0;
      }
      expect(passed).toBe(4000);
      expect(forwarded).toBe(2000);
      expect(rig.port.statistics()['badChunk']).toBe(0);
    });

    test('any bytes come in without a trap, and the next good frame passes', async () => {
      const noise = Array.from({ length: 200 }, (_, seed) => {
        const bytes = new Uint8Array(14 + ((seed * 131) % (longest() - 14)));
        for (let i = 0; i < bytes.length; i++) bytes[i] = (seed * 2654435761 + i * 40503) >>> 7;
        if (layer() === 3) bytes[0] = seed % 2 === 0 ? 0x45 : 0x60;
        return bytes;
      });
      await rig.send([...noise, frameOf(7, 100, layer())]);
      const inside = await take(rig, 1, (record) => record.forward(0));
      expect(inside.at(-1)).toEqual(frameOf(7, 100, layer()));
    });

    test('a frame longer than the MTU is refused on its way out, with a counted reason', async () => {
      await rig.send(frames(1, 100));
      await take(rig, 1, (record) => {
        record.setLength(longest() + 1);
        record.forward(0);
      });
      expect(rig.port.statistics()['txOversize']).toBe(1);
      expect(await rig.sent()).toEqual([]);
    });

    test('a frame that points outside the slab, or to no port, is refused on its way out, with a counted reason', async () => {
      await rig.send(frames(2, 100));
      let seen = 0;
      await take(rig, 2, (record) => {
        if (seen++ === 0) record.setLength(0x7fffffff);
        record.forward(seen === 1 ? 0 : 99);
      });
      expect(rig.port.statistics()['txMalformed']).toBe(2);
    });

    test('frames for which there is no room are lost and counted, and the port goes on', async () => {
      await rig.send(frames(3000, 100));
      if (kind === 'memory') for (let i = 0; i < 50; i++) rig.port.fill();
      const inside = await take(rig, 3000, (record) => record.drop(), true);
      expect(inside.length + rig.lost()).toBe(3000);
      // A file waits, everything else overflows.
      expect(rig.lost() > 0).toBe(kind !== 'pcap');
      await rig.send(frames(5, 100));
      expect(await take(rig, 5, (record) => record.drop())).toHaveLength(5);
    });

    test('a queue that nobody kicks fills up, and what does not fit is counted', async () => {
      const source = rig.core.worker.slab + rig.core.worker.injectChunk;
      rig.core.bytes.set(frameOf(1, 100, layer()), source);
      let queued = 0;
      for (let i = 0; i < 3000; i++) queued += rig.core.exports['send']?.(0, source, 100) ?? 0;
      const values = rig.port.statistics();
      expect(queued).toBeGreaterThan(0);
      expect((values['txNoChunk'] ?? 0) + (values['txRingFull'] ?? 0)).toBe(3000 - queued);
      rig.port.kick();
      const outside = await sentBy(rig, queued);
      expect(outside).toHaveLength(queued);
      expect(outside[0]).toEqual(frameOf(1, 100, layer()));
    });

    test('waiting ends when a frame comes, and not before', async () => {
      for (let i = 0; i < 5 && pollPorts([rig.port], 5) > 0; i++) burst(rig.core, rig.port, (record) => record.drop());
      const before = performance.now();
      expect(pollPorts([rig.port], 30)).toBe(0);
      expect(performance.now() - before).toBeGreaterThan(25);
      await rig.send(frames(1, 100));
      expect(pollPorts([rig.port], 1000)).toBe(1);
    });

    test('a closed port gives its queue back and can be opened again', async () => {
      for (let round = 0; round < 3; round++) {
        const before = rig.core;
        rig.close();
        expect(before.receive(0, 64)).toBe(0);
        rig = await openRig(kind);
        await rig.send(frames(3, 100));
        expect(await take(rig, 3, (record) => record.drop())).toHaveLength(3);
      }
    });
  });
}

// What only ports with a kernel behind them can show: steering, tags, checksums, frames between two ports, and taking over after a crash.
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { limits } from '@openclb/core-wasm/layout';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { readQueues, setOffloads } from './device.ts';
import { frameOf } from './frames.ts';
import { openPort, pollPorts } from './open.ts';
import { type Port, Steer } from './port.ts';
import { burst, isOurs, makeVeth, openCore, openRawSocket, PREFIX, type RawSocket, recordOf, roomOf } from './rigs.ts';
import { enterNamespace, refusalOf } from './test-namespace.ts';

const namespace = enterNamespace();
const KINDS = ['packet', 'xdp'] as const;
type Core = Awaited<ReturnType<typeof openCore>>;

beforeAll(() => {
  if (!namespace.isInside) return;
  makeVeth('left-a', 'left-b');
  makeVeth('right-a', 'right-b');
  execFileSync('ip', ['addr', 'add', '203.0.113.254/24', 'dev', 'left-b']);
  execFileSync('ip', ['neigh', 'add', '203.0.113.1', 'lladdr', '02:00:00:00:00:01', 'dev', 'left-b']);
});
afterAll(() => namespace.leave());

const prefixOf = (...bytes: number[]): Uint8Array => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...bytes);

/** Runs bursts for a while and returns what came in. */
function collect(core: Core, port: Port, count: number, waitMs = 300): Uint8Array[] {
  const frames: Uint8Array[] = [];
  const end = performance.now() + waitMs;
  while (frames.length < count && performance.now() < end) {
    pollPorts([port], 5);
    frames.push(...burst(core, port, (record) => record.drop()).filter((frame) => frame.length >= 34));
  }
  return frames;
}

const skipReason = (kind: 'packet' | 'xdp'): string | null => (namespace.isInside ? refusalOf(kind) : namespace.why);

describe.each(KINDS)('port %s', (kind) => {
  let core: Core;
  let port: Port;
  let outside: RawSocket;
  beforeEach(async (context) => {
    const why = skipReason(kind);
    context.skip(why !== null, why ?? '');
    core = await openCore(2);
    port = await openPort({ kind, index: 0, device: 'left-a', room: roomOf(core), steered: true });
    outside = openRawSocket('left-b');
  });
  afterEach(() => {
    outside?.close();
    port?.close();
  });

  const to = (a: number, b: number, c: number, d: number, protocol = 17): Uint8Array => {
    const frame = frameOf(0, 100, 2);
    frame.set([a, b, c, d], 30);
    frame[23] = protocol;
    return frame;
  };
  const destinations = (frames: Uint8Array[]): string[] =>
    frames.map((frame) => `${frame.slice(30, 34).join('.')}/${frame[23]}`);

  test('only steered destinations come in, and only with the protocols that were named', () => {
    port.steer(prefixOf(203, 0, 113, 10), 128, Steer.All);
    port.steer(prefixOf(10, 254, 1, 1), 128, Steer.Tunnel);
    port.steer(prefixOf(192, 0, 2, 0), 120, Steer.All);
    port.steer(prefixOf(192, 0, 2, 7), 128, 0);
    const packets = [
      to(203, 0, 113, 10),
      to(203, 0, 113, 11),
      to(10, 254, 1, 1, 47),
      to(10, 254, 1, 1, 4),
      to(10, 254, 1, 1, 41),
      to(10, 254, 1, 1, 6),
      to(192, 0, 2, 200),
      to(192, 0, 2, 7),
      to(192, 0, 3, 1),
      to(203, 0, 113, 10, 47),
    ];
    for (const frame of packets) outside.send(frame);
    expect(destinations(collect(core, port, 6))).toEqual([
      '203.0.113.10/17',
      '10.254.1.1/47',
      '10.254.1.1/4',
      '10.254.1.1/41',
      '192.0.2.200/17',
      '203.0.113.10/47',
    ]);
    expect(collect(core, port, 1, 30)).toEqual([]);
  });

  test('IPv6 destinations are steered by prefix as well', () => {
    const frame = (last: number): Uint8Array => {
      const bytes = frameOf(0, 100, 2);
      bytes.set([0x86, 0xdd, 0x60, 0, 0, 0, 0, 46, 6, 64], 12);
      bytes.set([0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, last], 38);
      return bytes;
    };
    port.steer(Uint8Array.of(0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10), 124, Steer.All);
    for (const last of [0x0f, 0x10, 0x1f, 0x20]) outside.send(frame(last));
    expect(collect(core, port, 2).map((bytes) => bytes[53])).toEqual([0x10, 0x1f]);
    expect(collect(core, port, 1, 30)).toEqual([]);
  });

  // A packet port with a filter looks at destinations only.
  if (kind === 'xdp') {
    test('a steered source comes in whatever it sends to, except to what the kernel keeps', () => {
      const from = (frame: Uint8Array, last: number): Uint8Array => (frame.set([198, 51, 100, last], 26), frame);
      port.steer(prefixOf(198, 51, 100, 2), 128, Steer.Source);
      port.steer(prefixOf(192, 0, 2, 1), 128, Steer.Kernel);
      port.steer(prefixOf(203, 0, 113, 10), 128, Steer.All);
      outside.send(from(to(192, 0, 2, 9), 2));
      outside.send(from(to(192, 0, 2, 9), 3));
      outside.send(from(to(192, 0, 2, 1), 2));
      outside.send(from(to(203, 0, 113, 10), 3));
      // As a destination it is a stranger: what goes to the target is the kernel's.
      outside.send(from(to(198, 51, 100, 2), 3));
      expect(destinations(collect(core, port, 2))).toEqual(['192.0.2.9/17', '203.0.113.10/17']);
      const frame = frameOf(0, 100, 2);
      frame.set([0x86, 0xdd, 0x60, 0, 0, 0, 0, 46, 6, 64], 12);
      const address = Uint8Array.of(0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10);
      frame.set(address, 22);
      port.steer(address, 128, Steer.Source);
      outside.send(frame);
      expect(collect(core, port, 1)).toHaveLength(1);
      expect(collect(core, port, 1, 30)).toEqual([]);
    });
  }

  test('what is no longer steered stays with the kernel', () => {
    port.steer(PREFIX, 120, Steer.All);
    outside.send(to(203, 0, 113, 1));
    expect(collect(core, port, 1)).toHaveLength(1);
    port.unsteer(PREFIX, 120);
    outside.send(to(203, 0, 113, 1));
    expect(collect(core, port, 1, 30)).toEqual([]);
  });

  test('300 steered prefixes are all told apart', () => {
    for (let i = 0; i < 300; i++) port.steer(prefixOf(203, 0, 112 + (i >> 8), i & 255), 128, Steer.All);
    outside.send(to(203, 0, 112, 0));
    outside.send(to(203, 0, 113, 43));
    outside.send(to(203, 0, 113, 44));
    expect(destinations(collect(core, port, 2))).toEqual(['203.0.112.0/17', '203.0.113.43/17']);
  });

  test('a port that a dead worker left open is taken over by opening it again in the same room', async () => {
    const again = await openPort({ kind, index: 0, device: 'left-a', room: roomOf(core), steered: true });
    again.steer(PREFIX, 120, Steer.All);
    outside.send(to(203, 0, 113, 9));
    expect(destinations(collect(core, again, 1))).toEqual(['203.0.113.9/17']);
    again.close();
    port = await openPort({ kind, index: 0, device: 'left-a', room: roomOf(core) });
  });

  test('a checksum that is complete and right stays as it is', () => {
    port.steer(PREFIX, 120, Steer.All);
    const frame = frameOf(3, 100, 2);
    new DataView(frame.buffer).setUint16(38, 66);
    frame.set([0, 0], 40);
    const right = ~udpSum(frame) & 0xffff;
    frame.set([right >> 8, right & 255], 40);
    outside.send(frame);
    expect(collect(core, port, 1)).toEqual([frame]);
    expect(port.statistics()['rxCompleted']).toBe(0);
  });

  test('a checksum that the sender left to its device is completed on receipt', async () => {
    port.steer(PREFIX, 120, Steer.All);
    setOffloads('left-b', true);
    const socket = createSocket('udp4');
    await new Promise<void>((resolve) => socket.bind(0, '203.0.113.254', resolve));
    for (const text of ['even', 'odd!!', 'x'.repeat(1000)]) {
      await new Promise<void>((resolve) => socket.send(text, 9999, '203.0.113.1', () => resolve()));
    }
    const frames = collect(core, port, 3).filter((frame) => isOurs(frame, 2));
    expect(frames).toHaveLength(3);
    expect(frames.map((frame) => udpSum(frame))).toEqual([0xffff, 0xffff, 0xffff]);
    expect(port.statistics()['rxCompleted']).toBe(3);
    socket.close();
    setOffloads('left-b', false);
  });

  test.for(KINDS)(
    'frames go on from here to a port of kind %s byte by byte, and no chunk is lost',
    async (other, context) => {
      const why = skipReason(other);
      context.skip(why !== null, why ?? '');
      port.steer(PREFIX, 120, Steer.All);
      const second = await openPort({ kind: other, index: 1, device: 'right-a', room: roomOf(core, 1) });
      const far = openRawSocket('right-b');
      const sent: Uint8Array[] = [];
      const received: Uint8Array[] = [];
      for (let round = 0; round < 40; round++) {
        const frames = Array.from({ length: 60 }, (_, i) => frameOf(round * 60 + i, 60 + ((round * 60 + i) % 1400), 2));
        for (const frame of frames) outside.send(frame);
        sent.push(...frames);
        const end = performance.now() + 500;
        while (received.length < sent.length && performance.now() < end) {
          pollPorts([port], 2);
          const count = core.receive(0, limits.BURST_MAX);
          for (let i = 0; i < count; i++) recordOf(core, i).forward(1);
          if (core.transmit(count) !== 0) second.kick();
          core.recycle(count);
          received.push(...far.receive().filter((frame) => isOurs(frame, 2)));
        }
      }
      expect(received.length).toBe(sent.length);
      expect(received).toEqual(sent);
      expect(port.statistics()['badChunk']).toBe(0);
      expect(second.statistics()['badChunk']).toBe(0);
      far.close();
      second.close();
    },
  );
});

test('a device with two receive queues is brought down to the one that is read, and back', async (context) => {
  const why = skipReason('xdp');
  context.skip(why !== null, why ?? '');
  const words = 'link add wide-a numrxqueues 2 numtxqueues 2 type veth peer name wide-b numrxqueues 2 numtxqueues 2';
  execFileSync('ip', words.split(' '));
  execFileSync('ip', ['link', 'set', 'wide-a', 'up']);
  const core = await openCore();
  expect(readQueues('wide-a')).toBe(2);
  const port = await openPort({ kind: 'xdp', index: 0, device: 'wide-a', room: roomOf(core) });
  expect(readQueues('wide-a')).toBe(1);
  port.close();
  expect(readQueues('wide-a')).toBe(2);
});

describe('port packet', () => {
  let core: Core;
  let port: Port;
  beforeEach(async (context) => {
    context.skip(!namespace.isInside, namespace.why);
    core = await openCore(2);
    port = await openPort({ kind: 'packet', index: 0, device: 'left-a', room: roomOf(core), silence: true });
  });
  afterEach(() => port?.close());

  test('an 802.1Q tag that the kernel has taken out is put back where it was', () => {
    const outside = openRawSocket('left-b');
    const plain = frameOf(5, 100, 2);
    const tagged = Uint8Array.of(...plain.subarray(0, 12), 0x81, 0, 0x20, 0x64, ...plain.subarray(12));
    outside.send(tagged);
    expect(collect(core, port, 1)).toEqual([tagged]);
    outside.close();
  });

  test('tunnel packets to an address of the kernel are not answered with "protocol unreachable"', async () => {
    execFileSync('ip', ['addr', 'add', '10.99.0.1/24', 'dev', 'left-a']);
    const outside = openRawSocket('left-b');
    const ask = (): number => {
      const frame = frameOf(0, 100, 2);
      frame.set(port.mac ?? []);
      frame.set([10, 99, 0, 2, 10, 99, 0, 1], 26);
      frame[23] = 47;
      ipv4Checksum(frame);
      outside.send(frame);
      const end = performance.now() + 100;
      let answers = 0;
      while (performance.now() < end) answers += outside.receive().filter((bytes) => bytes[23] === 1).length;
      return answers;
    };
    execFileSync('ip', ['neigh', 'add', '10.99.0.2', 'lladdr', '02:00:00:00:00:02', 'dev', 'left-a']);
    expect(ask()).toBe(0);
    port.close();
    // Without the port the kernel does answer, so the silence above was ours.
    expect(ask()).toBe(1);
    outside.close();
  });
});

/** One's complement sum over pseudo header and segment, written from RFC 768 independently of the core: 0xffff when right. */
function udpSum(frame: Uint8Array): number {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const bytes = view.getUint16(38);
  let sum = 17 + bytes;
  for (let at = 26; at < 34; at += 2) sum += view.getUint16(at);
  for (let at = 34; at < 34 + bytes; at += 2) sum += at + 1 < 34 + bytes ? view.getUint16(at) : view.getUint8(at) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

function ipv4Checksum(frame: Uint8Array): void {
  const view = new DataView(frame.buffer);
  view.setUint16(24, 0);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(24, ~sum & 0xffff);
}

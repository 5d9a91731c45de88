// Capture files, with tcpdump and tshark as the other reader and writer.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { frameOf } from './frames.ts';
import { createPcapWriter, readCapture } from './pcapng.ts';

const folder = mkdtempSync(join(tmpdir(), 'openclb-pcapng-'));
afterAll(() => rmSync(folder, { recursive: true }));
const FRAMES = [60, 61, 62, 63, 1514].map((bytes, number) => frameOf(number, bytes, 2));
const STAMP = 1_700_000_000_123_456_789n;

function writeSample(name: string): string {
  const path = join(folder, name);
  const writer = createPcapWriter(path);
  FRAMES.forEach((frame, at) => writer.write(at % 2 === 0 ? 'uplink' : 'inside', frame, STAMP + BigInt(at)));
  writer.close();
  return path;
}

const framesOf = (file: Uint8Array): Uint8Array[] => [...readCapture(file)].map(({ frame }) => new Uint8Array(frame));
function readAll(file: Uint8Array): { frames: Uint8Array[]; message: string } {
  const frames: Uint8Array[] = [];
  try {
    for (const { frame } of readCapture(file)) frames.push(frame);
    return { frames, message: '' };
  } catch (error) {
    return { frames, message: (error as Error).message };
  }
}
const hasNo = (program: string): boolean => spawnSync(program, ['--version']).status !== 0;

describe('a capture file', () => {
  test('gives back the frames that were written', () => {
    expect(framesOf(readFileSync(writeSample('own.pcapng')))).toEqual(FRAMES);
  });

  test('is read by tshark with interface names and nanoseconds', (context) => {
    context.skip(hasNo('tshark'), 'needs tshark: apt-get install tshark');
    const words = ['-T', 'fields', '-e', 'frame.interface_name', '-e', 'frame.len', '-e', 'frame.time_epoch'];
    const lines = execFileSync('tshark', ['-r', writeSample('shark.pcapng'), ...words], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const rows = lines
      .trim()
      .split('\n')
      .map((line) => line.split('\t'));
    expect(rows.map(([name, bytes]) => `${name} ${bytes}`)).toEqual(
      FRAMES.map((frame, at) => `${at % 2 === 0 ? 'uplink' : 'inside'} ${frame.length}`),
    );
    expect(rows[2]?.[2]).toMatch(/123456791/);
  });

  test('of the older kind, written by tcpdump, gives the same frames', (context) => {
    context.skip(hasNo('tcpdump'), 'needs tcpdump: apt-get install tcpdump');
    const older = join(folder, 'older.pcap');
    execFileSync('tcpdump', ['-r', writeSample('newer.pcapng'), '-w', older], { stdio: 'ignore' });
    expect(framesOf(readFileSync(older))).toEqual(FRAMES);
  });

  test('that ends in the middle of a block is refused with the place', () => {
    const file = readFileSync(writeSample('whole.pcapng'));
    expect(() => framesOf(file.subarray(0, file.length - 8))).toThrow(/block at byte \d+/);
  });

  test('of any bytes is refused or read to its end, and never read behind it', () => {
    const whole = new Uint8Array(readFileSync(writeSample('seed.pcapng')));
    const damaged = fc.tuple(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length)).map(([at, value, end]) => {
      const copy = whole.slice(0, end);
      if (at < end) copy[at] = value;
      return copy;
    });
    fc.assert(
      fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 400 })), (file) => {
        const { frames, message } = readAll(file);
        expect(frames.every((frame) => frame.length <= file.length)).toBe(true);
        expect(message).toMatch(/^$|byte|capture|pcap|length/);
      }),
      { numRuns: 2000 },
    );
  });
});

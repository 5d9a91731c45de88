// Capture files (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng), with tshark, capinfos, editcap and tcpdump as other readers and writers.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { ethernet, ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import {
  CaptureError,
  type CapturedFrame,
  type FrameToWrite,
  pcapngHeader,
  pcapngInterface,
  pcapngPacket,
  readCapture,
  summarizeCapture,
  writePcap,
  writePcapng,
} from '../../src/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'openclb-pcap-'));
afterAll(() => rmSync(folder, { recursive: true }));
const hasNo = (program: string): boolean => spawnSync(program, ['--version']).error !== undefined;

const MAC = '02:00:00:00:00:01';
const SECOND = 1_000_000_000n;
const STAMP = 1_700_000_000n * SECOND + 123_456_789n;
const FRAMES: FrameToWrite[] = [
  { frame: ethernet(MAC, MAC, ipPacket('198.51.100.1', '203.0.113.10', udp(5353, 53, Buffer.from('one')))) },
  { frame: ethernet(MAC, MAC, ipPacket('2001:db8::1', '2001:db8::2', tcp({ destinationPort: 443 }))) },
  { frame: ethernet(MAC, MAC, ipPacket('198.51.100.1', '203.0.113.10', tcp({ payload: Buffer.alloc(900, 7) }))) },
].map(({ frame }, at) => ({ frame: new Uint8Array(frame), nanoseconds: STAMP + BigInt(at) * 1_000_001n }));
const plain = (frames: Iterable<FrameToWrite>): unknown[] =>
  [...frames].map(({ frame, nanoseconds }) => ({ frame: new Uint8Array(frame), nanoseconds }));

function save(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

/** Runs a program on a file; its standard output. Fails with its complaint. */
const run = (program: string, ...args: string[]): string => execFileSync(program, args, { encoding: 'utf8' });

const ENDIANS = ['little', 'big'] as const;
const RESOLUTIONS = ['microseconds', 'nanoseconds'] as const;

describe('pcap', () => {
  for (const endian of ENDIANS)
    for (const resolution of RESOLUTIONS)
      test(`in ${endian} endian with ${resolution} gives back what was written`, () => {
        const file = writePcap(FRAMES, { endian, resolution });
        const step = resolution === 'nanoseconds' ? 1n : 1000n;
        const expected = FRAMES.map((frame) => {
          const time = frame.nanoseconds ?? 0n;
          return { frame: frame.frame, nanoseconds: time - (time % step) };
        });
        expect(plain(readCapture(file))).toEqual(expected);
        expect([...readCapture(file)][0]?.interface).toMatchObject({ linkType: 1, section: 0, fcsBytes: 0 });
      });

  test('is read by tcpdump and capinfos with every time and length, in both orders', (context) => {
    context.skip(
      hasNo('tcpdump') || hasNo('capinfos'),
      'needs tcpdump and capinfos: apt-get install tcpdump wireshark-common',
    );
    for (const endian of ENDIANS) {
      const path = save(`written-${endian}.pcap`, writePcap(FRAMES, { endian }));
      const lines = run('tcpdump', '-nn', '-tt', '--time-stamp-precision=nano', '-r', path).trim().split('\n');
      expect(lines.map((line) => line.split(' ')[0])).toEqual(
        FRAMES.map(
          ({ nanoseconds = 0n }) => `${nanoseconds! / SECOND}.${String(nanoseconds! % SECOND).padStart(9, '0')}`,
        ),
      );
      expect(run('capinfos', '-T', '-r', '-m', '-c', '-d', path).trim().split(',').slice(-2)).toEqual(
        [FRAMES.length, FRAMES.reduce((sum, { frame }) => sum + frame.length, 0)].map((number) => String(number)),
      );
    }
  });

  test('with another link type per frame is refused: one file has one', () => {
    const frames = [1, 101].map((linkType) => ({ frame: Uint8Array.of(1), interface: { linkType } }));
    expect(() => writePcap(frames)).toThrow(/write pcapng/);
  });

  test('tells the frame check sequence that its header speaks of', () => {
    const file = writePcap(FRAMES);
    new DataView(file.buffer).setUint32(20, ((2 << 28) | 0x04000000 | 1) >>> 0, true);
    expect([...readCapture(file)][0]?.interface).toMatchObject({ linkType: 1, fcsBytes: 4 });
  });
});

const RICH: FrameToWrite[] = [
  { ...FRAMES[0]!, interface: { name: 'uplink', description: 'to the world' }, comments: ['first', 'zweitens: ü'] },
  { ...FRAMES[1]!, interface: { name: 'inside' }, direction: 'inbound' },
  { ...FRAMES[2]!, interface: { name: 'uplink' }, direction: 'outbound', wireBytes: 2000 },
  {
    frame: FRAMES[0]!.frame.subarray(14),
    nanoseconds: STAMP,
    interface: { name: 'tun', linkType: 101, snapBytes: 65_535 },
  },
];

describe('pcapng', () => {
  for (const endian of ENDIANS)
    test(`in ${endian} endian gives back frames, times, interfaces, directions and comments`, () => {
      const frames = [...readCapture(writePcapng(RICH, { endian, application: 'a test' }))];
      expect(plain(frames)).toEqual(plain(RICH));
      expect(frames.map((frame) => frame.interface.name)).toEqual(['uplink', 'inside', 'uplink', 'tun']);
      expect(frames.map((frame) => frame.direction)).toEqual([undefined, 'inbound', 'outbound', undefined]);
      expect(frames[0]?.comments).toEqual(['first', 'zweitens: ü']);
      expect(frames[0]?.interface).toMatchObject({ description: 'to the world', resolution: SECOND });
      expect(frames[2]?.wireBytes).toBe(2000);
      expect(frames[3]?.interface).toMatchObject({ linkType: 101, snapBytes: 65_535, number: 2 });
    });

  test('is read by tshark with names, comments, times and lengths, in both orders', (context) => {
    context.skip(hasNo('tshark'), 'needs tshark: apt-get install tshark');
    const fields = ['frame.interface_name', 'frame.comment', 'frame.time_epoch', 'frame.cap_len', 'frame.len'];
    for (const endian of ENDIANS) {
      const path = save(`rich-${endian}.pcapng`, writePcapng(RICH, { endian, comments: ['of the section'] }));
      const args = ['-r', path, '-T', 'fields', '-E', 'aggregator=|', ...fields.flatMap((field) => ['-e', field])];
      const rows = execFileSync('tshark', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
      expect(
        rows
          .trimEnd()
          .split('\n')
          .map((row) => row.split('\t')),
      ).toEqual(
        RICH.map(({ frame, wireBytes, nanoseconds, comments = [], interface: from }) => [
          from?.name,
          comments.join('|'),
          `${nanoseconds! / SECOND}.${nanoseconds! % SECOND}`,
          String(frame.length),
          String(wireBytes ?? frame.length),
        ]),
      );
    }
  });

  test('written by editcap and mergecap, with comments of theirs, gives the same frames', (context) => {
    context.skip(hasNo('editcap') || hasNo('mergecap'), 'needs editcap: apt-get install wireshark-common');
    const older = save('older.pcap', writePcap(FRAMES));
    const newer = join(folder, 'edited.pcapng');
    execFileSync('editcap', ['-a', '2:said by editcap', '-F', 'pcapng', older, newer]);
    const edited = [...readCapture(readFileSync(newer))];
    expect(plain(edited)).toEqual(plain(FRAMES));
    expect(edited.map((frame) => frame.comments)).toEqual([[], ['said by editcap'], []]);
    const merged = join(folder, 'merged.pcapng');
    execFileSync('mergecap', ['-a', '-w', merged, newer, save('raw.pcapng', writePcapng(RICH))]);
    const all = [...readCapture(readFileSync(merged))];
    expect(plain(all)).toEqual(plain([...FRAMES, ...RICH]));
    const summary = summarizeCapture(readFileSync(merged));
    const told = run('capinfos', '-T', '-r', '-m', '-c', '-d', '-S', '-a', '-e', merged).trim().split(',');
    expect(told).toContain(String(summary.frames));
    expect(told).toContain(String(summary.wireBytes));
    expect(told).toContain(`${summary.first! / SECOND}.${summary.first! % SECOND}`);
  });

  test('skips blocks that it does not know, reads simple and obsolete packets, and begins afresh with each section', () => {
    const block = (type: number, body: Buffer): Buffer => {
      const bytes = Buffer.alloc(12 + body.length);
      bytes.writeUInt32LE(type, 0);
      bytes.writeUInt32LE(bytes.length, 4);
      body.copy(bytes, 8);
      bytes.writeUInt32LE(bytes.length, bytes.length - 4);
      return bytes;
    };
    const simple = Buffer.alloc(4 + 8);
    simple.writeUInt32LE(100, 0);
    const obsolete = Buffer.alloc(20 + 4);
    obsolete.writeUInt16LE(0, 0);
    obsolete.writeUInt32LE(1_000_000, 8);
    obsolete.writeUInt32LE(3, 12);
    obsolete.writeUInt32LE(3, 16);
    const file = Buffer.concat([
      pcapngHeader(),
      block(4, Buffer.alloc(8)),
      pcapngInterface({ name: 'cut', snapBytes: 8 }),
      block(0x40000bad, Buffer.alloc(16, 0xff)),
      block(3, simple),
      block(2, obsolete),
      pcapngHeader({ endian: 'big' }),
      pcapngInterface({ name: 'other' }, { endian: 'big' }),
      pcapngPacket(0, FRAMES[0]!, { endian: 'big' }),
    ]);
    const frames = [...readCapture(file)];
    expect(frames.map(({ frame, wireBytes, nanoseconds }) => [frame.length, wireBytes, nanoseconds])).toEqual([
      [8, 100, null],
      [3, 3, 1_000_000n],
      [FRAMES[0]!.frame.length, FRAMES[0]!.frame.length, STAMP],
    ]);
    expect(frames.map((frame) => [frame.interface.section, frame.interface.name])).toEqual([
      [0, 'cut'],
      [0, 'cut'],
      [1, 'other'],
    ]);
  });

  test('counts time in the units and from the offset that an interface names', () => {
    const file = Buffer.from(writePcapng([{ frame: Uint8Array.of(1, 2, 3, 4), nanoseconds: 3n * 1024n }]));
    const at = file.indexOf(Buffer.from([9, 0, 1, 0, 9]));
    file[at + 4] = 0x80 | 10;
    expect([...readCapture(file)][0]?.nanoseconds).toBe(3n * SECOND);
  });
});

function refusal(file: Uint8Array, limits = {}): CaptureError {
  try {
    for (const _ of readCapture(file, limits)) continue;
  } catch (error) {
    if (error instanceof CaptureError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

/** Where the file is refused, or its end; the frames before that go into the list. */
function offsetOfRefusal(file: Uint8Array, seen: CapturedFrame[]): number {
  try {
    for (const frame of readCapture(file)) seen.push(frame);
    return file.length;
  } catch (error) {
    if (error instanceof CaptureError) return error.offset;
    throw error;
  }
}

describe('a hostile file', () => {
  const ng = writePcapng(RICH);
  const old = writePcap(FRAMES);

  test('is refused with the offset where it stops making sense', () => {
    expect(refusal(new Uint8Array(0))).toMatchObject({ offset: 0, message: expect.stringMatching(/neither/) });
    expect(refusal(Buffer.from('hello, world, this is text'))).toMatchObject({ offset: 0 });
    expect(refusal(old.subarray(0, 20))).toMatchObject({ offset: 20, message: expect.stringMatching(/24 bytes/) });
    expect(refusal(old.subarray(0, 30))).toMatchObject({ offset: 24, message: expect.stringMatching(/cut/) });
    expect(refusal(old.subarray(0, 60)).message).toMatch(/record at byte 24 is longer than the file/);
    expect(refusal(ng.subarray(0, ng.length - 4)).message).toMatch(/block at byte \d+ has length/);
    const twisted = ng.slice();
    twisted[ng.length - 4]! ^= 4;
    expect(refusal(twisted).message).toMatch(/in front and \d+ at its end/);
    const version = old.slice();
    version[4] = 9;
    expect(refusal(version)).toMatchObject({ offset: 4 });
  });

  test('is refused where it names an interface that nothing describes, or options longer than their block', () => {
    const lonely = Buffer.concat([pcapngHeader(), pcapngPacket(3, FRAMES[0]!)]);
    expect(refusal(lonely)).toMatchObject({
      offset: 28,
      message: expect.stringMatching(/interface 3; its section has 0/),
    });
    const options = Buffer.from(ng);
    const at = options.indexOf('uplink');
    options.writeUInt16LE(9999, at - 2);
    expect(refusal(options)).toMatchObject({ offset: at - 4 });
  });

  test('that passes a limit is refused', () => {
    expect(refusal(old, { frameBytesMax: 60 }).message).toMatch(/the limit is 60/);
    expect(refusal(ng, { frameBytesMax: 60 }).message).toMatch(/the limit is 60/);
    expect(refusal(old, { framesMax: 2 }).message).toMatch(/raise framesMax/);
    expect(refusal(ng, { interfacesMax: 2 }).message).toMatch(/interface 3/);
  });

  test('of any bytes is read or refused with an offset inside it, and no frame lies outside of it', () => {
    const damaged = fc
      .tuple(fc.constantFrom(ng, old), fc.array(fc.tuple(fc.nat(700), fc.nat(255)), { maxLength: 4 }), fc.nat(1400))
      .map(([from, changes, end]) => {
        const copy = from.slice(0, end);
        for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
        return copy;
      });
    fc.assert(
      fc.property(fc.oneof({ weight: 9, arbitrary: damaged }, fc.uint8Array({ maxLength: 300 })), (file) => {
        const seen: CapturedFrame[] = [];
        const offset = offsetOfRefusal(file, seen);
        expect(offset).toBeGreaterThanOrEqual(0);
        expect(offset).toBeLessThanOrEqual(file.length);
        for (const { frame, offset } of seen) {
          expect(frame.byteOffset).toBeGreaterThanOrEqual(file.byteOffset + offset);
          expect(frame.byteOffset + frame.length).toBeLessThanOrEqual(file.byteOffset + file.length);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

// Records frames of devices in other namespaces from within this process: no child, no race at start or stop, nothing to install.
// What is recorded can be parsed at once and is written as pcap (RFC draft-ietf-opsawg-pcap) for tcpdump and tshark.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openTap } from './kernel.ts';
import { within } from './network.ts';
import type { Network } from './network.ts';
import { parseFrame } from './parse.ts';
import type { Frame } from './parse.ts';

const SNAP_BYTES = 65_535;
const DRAIN_EVERY_MS = 5;
const FRAMES_MAX = 200_000;

export interface Captured {
  atMs: number;
  bytes: Buffer;
  readonly frame: Frame;
}

export interface Capture {
  /** Everything up to now, oldest first. */
  frames(): Captured[];
  /** Stops, writes `<name>.pcap` into the run's directory and returns its frames. */
  stop(): Captured[];
  file: string;
}

export function startCapture(network: Network, namespace: string, device: string, name: string): Capture {
  const tap = within(network, namespace, () => openTap(device));
  const file = join(network.directory, `${name}.pcap`);
  const captured: Captured[] = [];
  let isOpen = true;
  const drain = (): void =>
    tap.drain((frame, atMs) => {
      if (captured.length >= FRAMES_MAX) return;
      captured.push(recorded(atMs, Buffer.from(frame)));
    });
  const timer = setInterval(drain, DRAIN_EVERY_MS);
  const frames = (): Captured[] => {
    if (isOpen) drain();
    return captured;
  };
  const stop = (): Captured[] => {
    const all = frames();
    if (!isOpen) return all;
    isOpen = false;
    clearInterval(timer);
    const { lost } = tap.close();
    writeFileSync(file, pcap(all));
    if (lost > 0) throw new Error(`the capture ${name} lost ${lost} frames, so it proves nothing`);
    return all;
  };
  return { frames, stop, file };
}

/** Parsed when somebody asks: while frames come in, there is no time for it. */
function recorded(atMs: number, bytes: Buffer): Captured {
  let parsed: Frame | undefined;
  return {
    atMs,
    bytes,
    get frame() {
      return (parsed ??= parseFrame(bytes));
    },
  };
}

/** Classic little-endian pcap, link type Ethernet. */
export function pcap(frames: readonly Pick<Captured, 'atMs' | 'bytes'>[]): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4, 0);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(SNAP_BYTES, 16);
  head.writeUInt32LE(1, 20);
  const records = frames.flatMap(({ atMs, bytes }) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(Math.floor(atMs / 1000), 0);
    record.writeUInt32LE(Math.floor((atMs % 1000) * 1000), 4);
    record.writeUInt32LE(bytes.length, 8);
    record.writeUInt32LE(bytes.length, 12);
    return [record, bytes];
  });
  return Buffer.concat([head, ...records]);
}

const PCAP_HEADER_BYTES = 24;

/** Many capture files as one, so that a reader has to be started only once. Frames keep the order of the files. */
export function mergeCaptures(files: readonly string[], into: string): string {
  const records = files.map((file) => readFileSync(file).subarray(PCAP_HEADER_BYTES));
  writeFileSync(into, Buffer.concat([pcap([]), ...records]));
  return into;
}

let tsharkPresent: boolean | undefined;

export function hasTshark(): boolean {
  tsharkPresent ??= spawnSync('tshark', ['--version']).status === 0;
  return tsharkPresent;
}

/** Rows of fields as tshark reads them, with IP and TCP checksums checked (proofs.md), and with further preferences as `-o` takes them. */
export function tsharkFields(
  file: string,
  filter: string,
  fields: readonly string[],
  preferences: readonly string[] = [],
): string[][] {
  const always = ['ip.check_checksum:TRUE', 'tcp.check_checksum:TRUE', 'udp.check_checksum:TRUE'];
  const checks = [...always, ...preferences].flatMap((preference) => ['-o', preference]);
  const run = spawnSync(
    'tshark',
    ['-r', file, ...checks, '-Y', filter, '-T', 'fields', ...fields.flatMap((field) => ['-e', field])],
    {
      maxBuffer: 64 << 20,
    },
  );
  if (run.status !== 0) throw new Error(`tshark: ${run.stderr.toString().trim()}`);
  return run.stdout
    .toString()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t'));
}

/** The packets of the file that tshark judges to have a wrong checksum, in any layer: number, addresses and ports of each. */
export function tsharkBadChecksums(file: string): string[] {
  // tshark calls a TCP checksum of 0xffff wrong (RFC 1624 would write 0), and Linux's software checksum writes just that
  // (CSUM_MANGLED_0): one packet in 65,536 of any kernel's own.
  const tcp = '(tcp.checksum.status == "Bad" && !(tcp.checksum == 0xffff))';
  const bad = `ip.checksum.status == "Bad" || ${tcp} || udp.checksum.status == "Bad"`;
  const fields = ['frame.number', 'ip.src', 'ip.dst', 'tcp.srcport', 'tcp.dstport', 'frame.len'];
  return tsharkFields(file, bad, fields).map((row) => `packet ${row.join(' ')}`);
}

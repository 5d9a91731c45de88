// pcapng writer (draft-ietf-opsawg-pcapng): blocks as bytes, for files, streams and downloads. Times are in nanoseconds.
import { join } from './pcap.ts';
import { BYTE_ORDER, BlockType } from './pcapng.ts';
import { type FrameToWrite, type InterfaceToWrite, LinkType, timeOf } from './types.ts';

const SNAP_BYTES = 262_144;
const OPTION = { Comment: 1, Name: 2, Flags: 2, Description: 3, Application: 4, Resolution: 9 } as const;
const OPTION_BYTES_MAX = 65_535;

export interface PcapngOptions {
  /** Little by default. */
  readonly endian?: 'little' | 'big';
}

export interface SectionOptions extends PcapngOptions {
  readonly comments?: readonly string[];
  /** Name of the program that writes the file. */
  readonly application?: string;
}

const padded = (bytes: number): number => (bytes + 3) & ~3;

/** The section block that a file begins with. */
export function pcapngHeader(options: SectionOptions = {}): Uint8Array {
  const isLittle = options.endian !== 'big';
  const fixed = new DataView(new ArrayBuffer(16));
  fixed.setUint32(0, BYTE_ORDER, isLittle);
  fixed.setUint16(4, 1, isLittle);
  fixed.setBigInt64(8, -1n, isLittle);
  const list = [...texts(OPTION.Comment, options.comments), ...texts(OPTION.Application, options.application)];
  return block(BlockType.Section, [new Uint8Array(fixed.buffer)], list, isLittle);
}

/** Describes the next interface of the section; they count from 0. */
export function pcapngInterface(from: InterfaceToWrite = {}, options: PcapngOptions = {}): Uint8Array {
  const isLittle = options.endian !== 'big';
  const fixed = new DataView(new ArrayBuffer(8));
  fixed.setUint16(0, from.linkType ?? LinkType.Ethernet, isLittle);
  fixed.setUint32(4, from.snapBytes ?? SNAP_BYTES, isLittle);
  const list = [
    ...texts(OPTION.Comment, from.comments),
    ...texts(OPTION.Name, from.name),
    ...texts(OPTION.Description, from.description),
    { code: OPTION.Resolution, value: Uint8Array.of(9) },
  ];
  return block(BlockType.Interface, [new Uint8Array(fixed.buffer)], list, isLittle);
}

/** One frame, seen on the interface of that number. Throws a RangeError for a time before 1970. */
export function pcapngPacket(number: number, frame: FrameToWrite, options: PcapngOptions = {}): Uint8Array {
  const isLittle = options.endian !== 'big';
  const time = timeOf(frame);
  const fixed = new DataView(new ArrayBuffer(20));
  fixed.setUint32(0, number, isLittle);
  fixed.setUint32(4, Number(time >> 32n), isLittle);
  fixed.setUint32(8, Number(time & 0xffffffffn), isLittle);
  fixed.setUint32(12, frame.frame.length, isLittle);
  fixed.setUint32(16, frame.wireBytes ?? frame.frame.length, isLittle);
  const list = texts(OPTION.Comment, frame.comments);
  if (frame.direction !== undefined) {
    const flags = new DataView(new ArrayBuffer(4));
    flags.setUint32(0, frame.direction === 'inbound' ? 1 : 2, isLittle);
    list.push({ code: OPTION.Flags, value: new Uint8Array(flags.buffer) });
  }
  return block(BlockType.EnhancedPacket, [new Uint8Array(fixed.buffer), frame.frame], list, isLittle);
}

/** A whole pcapng file of one section: an interface block where an interface first appears, a packet block for every frame. */
export function writePcapng(frames: Iterable<FrameToWrite>, options: SectionOptions = {}): Uint8Array {
  const parts = [pcapngHeader(options)];
  const numbers = new Map<InterfaceToWrite | string, number>();
  const other: InterfaceToWrite = {};
  for (const frame of frames) {
    const from = frame.interface ?? other;
    const key = from.name ?? from;
    let number = numbers.get(key);
    if (number === undefined) {
      number = numbers.size;
      numbers.set(key, number);
      parts.push(pcapngInterface(from, options));
    }
    parts.push(pcapngPacket(number, frame, options));
  }
  return join(parts);
}

interface Option {
  readonly code: number;
  readonly value: Uint8Array;
}

function texts(code: number, values: string | readonly string[] | undefined): Option[] {
  const list = values === undefined ? [] : typeof values === 'string' ? [values] : values;
  return list.map((text) => {
    const value = new TextEncoder().encode(text);
    if (value.length > OPTION_BYTES_MAX)
      throw new RangeError(`A comment or name of ${value.length} bytes; an option holds ${OPTION_BYTES_MAX}`);
    return { code, value };
  });
}

function block(type: number, body: readonly Uint8Array[], options: readonly Option[], isLittle: boolean): Uint8Array {
  const bodyBytes = padded(body.reduce((sum, part) => sum + part.length, 0));
  const optionBytes =
    options.length === 0 ? 0 : options.reduce((sum, option) => sum + 4 + padded(option.value.length), 4);
  const total = 12 + bodyBytes + optionBytes;
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, isLittle);
  view.setUint32(4, total, isLittle);
  let at = 8;
  for (const part of body) {
    bytes.set(part, at);
    at += part.length;
  }
  at = 8 + bodyBytes;
  for (const { code, value } of options) {
    view.setUint16(at, code, isLittle);
    view.setUint16(at + 2, value.length, isLittle);
    bytes.set(value, at + 4);
    at += 4 + padded(value.length);
  }
  view.setUint32(total - 4, total, isLittle);
  return bytes;
}

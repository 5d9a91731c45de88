// pcap, the older kind (draft-ietf-opsawg-pcap): one header of 24 bytes, then records of 16 bytes and a frame.
import {
  type CaptureInterface,
  type CaptureLimits,
  type CapturedFrame,
  type FrameToWrite,
  CaptureError,
  LinkType,
  SECOND,
  timeOf,
} from './types.ts';

const HEADER_BYTES = 24;
const RECORD_BYTES = 16;
const MICROSECONDS = 0xa1b2c3d4;
const NANOSECONDS = 0xa1b23c4d;
const SNAP_BYTES = 262_144;
/** In the last word of the header: the length of the FCS is told, in units of two bytes in the four bits above. */
const FCS_PRESENT = 0x04000000;

export function* readPcap(file: Uint8Array, limits: Required<CaptureLimits>): Generator<CapturedFrame> {
  if (file.length < HEADER_BYTES)
    throw new CaptureError(`the pcap header has ${HEADER_BYTES} bytes, the file ${file.length}`, file.length);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const isLittle = [MICROSECONDS, NANOSECONDS].includes(view.getUint32(0, true));
  const from = headerOf(view, isLittle);
  let at = HEADER_BYTES;
  while (at < file.length) {
    if (at + RECORD_BYTES > file.length)
      throw new CaptureError(`the record at byte ${at} is cut: its header has ${RECORD_BYTES} bytes`, at);
    const bytes = view.getUint32(at + 8, isLittle);
    if (bytes > limits.frameBytesMax)
      throw new CaptureError(`the record at byte ${at} has ${bytes} bytes; the limit is ${limits.frameBytesMax}`, at);
    if (bytes > file.length - at - RECORD_BYTES)
      throw new CaptureError(`the record at byte ${at} is longer than the file`, at);
    const seconds = BigInt(view.getUint32(at, isLittle));
    const fraction = (BigInt(view.getUint32(at + 4, isLittle)) * SECOND) / from.resolution;
    yield {
      frame: file.subarray(at + RECORD_BYTES, at + RECORD_BYTES + bytes),
      wireBytes: view.getUint32(at + 12, isLittle),
      nanoseconds: seconds * SECOND + fraction,
      interface: from,
      comments: [],
      offset: at,
    };
    at += RECORD_BYTES + bytes;
  }
}

function headerOf(view: DataView, isLittle: boolean): CaptureInterface {
  const major = view.getUint16(4, isLittle);
  if (major !== 2) throw new CaptureError(`pcap version ${major} at byte 4; only version 2 is known`, 4);
  const link = view.getUint32(20, isLittle);
  return {
    number: 0,
    section: 0,
    linkType: link & 0xffff,
    snapBytes: view.getUint32(16, isLittle),
    resolution: view.getUint32(0, isLittle) === NANOSECONDS ? SECOND : 1_000_000n,
    offsetSeconds: 0n,
    fcsBytes: link & FCS_PRESENT ? (link >>> 28) * 2 : 0,
    comments: [],
  };
}

export interface PcapOptions {
  /** LINKTYPE of the tcpdump registry; 1, Ethernet, by default. */
  readonly linkType?: number;
  readonly snapBytes?: number;
  /** Nanoseconds by default. */
  readonly resolution?: 'microseconds' | 'nanoseconds';
  /** Little by default. */
  readonly endian?: 'little' | 'big';
}

/** The 24 bytes that a pcap file begins with. */
export function pcapHeader(options: PcapOptions = {}): Uint8Array {
  const isLittle = options.endian !== 'big';
  const view = new DataView(new ArrayBuffer(HEADER_BYTES));
  view.setUint32(0, options.resolution === 'microseconds' ? MICROSECONDS : NANOSECONDS, isLittle);
  view.setUint16(4, 2, isLittle);
  view.setUint16(6, 4, isLittle);
  view.setUint32(16, options.snapBytes ?? SNAP_BYTES, isLittle);
  view.setUint32(20, options.linkType ?? LinkType.Ethernet, isLittle);
  return new Uint8Array(view.buffer);
}

/** One record: 16 bytes and the frame. Throws a RangeError for a time before 1970 or after 2106. */
export function pcapRecord(frame: FrameToWrite, options: PcapOptions = {}): Uint8Array {
  const isLittle = options.endian !== 'big';
  const time = timeOf(frame);
  const seconds = time / SECOND;
  if (seconds > 0xffffffffn) throw new RangeError(`A frame of ${time} ns: pcap ends in 2106, pcapng does not`);
  const fraction = Number(time % SECOND);
  const bytes = new Uint8Array(RECORD_BYTES + frame.frame.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Number(seconds), isLittle);
  view.setUint32(4, options.resolution === 'microseconds' ? Math.floor(fraction / 1000) : fraction, isLittle);
  view.setUint32(8, frame.frame.length, isLittle);
  view.setUint32(12, frame.wireBytes ?? frame.frame.length, isLittle);
  bytes.set(frame.frame, RECORD_BYTES);
  return bytes;
}

/** A whole pcap file. It has one link type: frames of interfaces with another one are refused with a RangeError. */
export function writePcap(frames: Iterable<FrameToWrite>, options: PcapOptions = {}): Uint8Array {
  const parts: Uint8Array[] = [];
  let { linkType } = options;
  for (const frame of frames) {
    const own = frame.interface?.linkType;
    linkType ??= own;
    if (own !== undefined && own !== linkType)
      throw new RangeError(`Link types ${linkType} and ${own} do not fit one pcap file: write pcapng`);
    parts.push(pcapRecord(frame, options));
  }
  return join([pcapHeader({ ...options, linkType: linkType ?? LinkType.Ethernet }), ...parts]);
}

export function join(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

// Capture files as pure functions over bytes, for Node and browsers: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng),
// read and written, either byte order, microseconds to nanoseconds. What makes no sense is refused with the offset where it lies.
import { readPcap } from './pcap/pcap.ts';
import { readPcapng } from './pcap/pcapng.ts';
import { type CaptureLimits, type CaptureInterface, type CapturedFrame, CaptureError, LIMITS } from './pcap/types.ts';

export { pcapHeader, pcapRecord, writePcap, type PcapOptions } from './pcap/pcap.ts';
export {
  pcapngHeader,
  pcapngInterface,
  pcapngPacket,
  writePcapng,
  type PcapngOptions,
  type SectionOptions,
} from './pcap/pcapng-write.ts';
export {
  CaptureError,
  LinkType,
  type CaptureInterface,
  type CaptureLimits,
  type CapturedFrame,
  type FrameToWrite,
  type InterfaceToWrite,
} from './pcap/types.ts';

/** What `summarizeCapture` counts: frames, bytes, interfaces, and the times of the first and the last frame. */
export interface CaptureSummary {
  readonly format: 'pcap' | 'pcapng';
  readonly frames: number;
  /** Bytes of all frames as they are in the file. */
  readonly bytes: number;
  /** Bytes of all frames as they were on the wire. */
  readonly wireBytes: number;
  /** Interfaces in order of appearance, of all sections. Only those that are described before the last frame. */
  readonly interfaces: readonly CaptureInterface[];
  /** Nanoseconds since 1970; null when no frame has a time. */
  readonly first: bigint | null;
  readonly last: bigint | null;
}

/**
 * The frames of a pcap or pcapng file, one by one; `frame` is a view into `file`, nothing is copied. Offsets count from the start of
 * `file`. Throws a CaptureError at the first byte that makes no sense: frames before it have been given by then.
 */
export function* readCapture(file: Uint8Array, limits: CaptureLimits = {}): Generator<CapturedFrame, void, undefined> {
  const bounds = { ...LIMITS, ...limits };
  const read = formatOf(file) === 'pcapng' ? readPcapng : readPcap;
  let count = 0;
  for (const frame of read(file, bounds)) {
    if (++count > bounds.framesMax)
      throw new CaptureError(`more than ${bounds.framesMax} frames: raise framesMax`, frame.offset);
    yield frame;
  }
}

/** Reads the whole file and counts, like capinfos. Throws a CaptureError like readCapture. */
export function summarizeCapture(file: Uint8Array, limits: CaptureLimits = {}): CaptureSummary {
  const interfaces = new Set<CaptureInterface>();
  let frames = 0;
  let bytes = 0;
  let wireBytes = 0;
  let first: bigint | null = null;
  let last: bigint | null = null;
  for (const { frame, wireBytes: whole, interface: from, nanoseconds } of readCapture(file, limits)) {
    frames++;
    bytes += frame.length;
    wireBytes += whole;
    interfaces.add(from);
    if (nanoseconds === null) continue;
    if (first === null || nanoseconds < first) first = nanoseconds;
    if (last === null || nanoseconds > last) last = nanoseconds;
  }
  return { format: formatOf(file), frames, bytes, wireBytes, interfaces: [...interfaces], first, last };
}

/** Which kind of capture file the bytes begin as. Throws a CaptureError when they are neither. */
export function formatOf(file: Uint8Array): 'pcap' | 'pcapng' {
  const first = file.length < 4 ? 0 : new DataView(file.buffer, file.byteOffset).getUint32(0, false);
  if (first === 0x0a0d0d0a) return 'pcapng';
  if ([0xa1b2c3d4, 0xa1b23c4d, 0xd4c3b2a1, 0x4d3cb2a1].includes(first)) return 'pcap';
  const why = file.length < 4 ? 'shorter than a magic number' : `it begins with ${first.toString(16).padStart(8, '0')}`;
  throw new CaptureError(`this is neither pcap nor pcapng: ${why}`, 0);
}

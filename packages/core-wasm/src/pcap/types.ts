// What readers and writers of capture files share: frames, interfaces, limits, the error.

/** Link types of the tcpdump registry that this package dissects. */
export const LinkType = {
  Null: 0,
  Ethernet: 1,
  RawIp: 101,
  LinuxSll: 113,
  Ipv4: 228,
  Ipv6: 229,
  LinuxSll2: 276,
} as const;

export interface CaptureInterface {
  /** Number inside its section, from 0. */
  readonly number: number;
  /** Number of the section, from 0; always 0 in pcap. */
  readonly section: number;
  /** LINKTYPE of the tcpdump registry: 1 Ethernet, 101 IP. */
  readonly linkType: number;
  /** Most bytes kept of a frame; 0 is no limit. */
  readonly snapBytes: number;
  /** Units of a second that the file counts in: 1e6 is microseconds, 1e9 nanoseconds. */
  readonly resolution: bigint;
  /** Whole seconds that are added to every time. */
  readonly offsetSeconds: bigint;
  /** Bytes of frame check sequence at the end of every frame; 0 when the file does not tell. */
  readonly fcsBytes: number;
  readonly name?: string;
  readonly description?: string;
  readonly hardware?: string;
  readonly system?: string;
  readonly filter?: string;
  readonly comments: readonly string[];
}

export interface CapturedFrame {
  /** A view into the file. */
  readonly frame: Uint8Array;
  /** Bytes on the wire; more than the frame has when the capture cut it. */
  readonly wireBytes: number;
  /** Since 1970; null where the file has no time (simple packet blocks). */
  readonly nanoseconds: bigint | null;
  readonly interface: CaptureInterface;
  readonly comments: readonly string[];
  /** As the capturing host saw it, where the file tells. */
  readonly direction?: 'inbound' | 'outbound';
  /** Where its record or block begins in the file. */
  readonly offset: number;
}

export interface CaptureLimits {
  /** Longest frame; 262,144 by default, as in libpcap. */
  readonly frameBytesMax?: number;
  /** Frames of a file; 16 million by default. */
  readonly framesMax?: number;
  /** Interfaces of a section; 4,096 by default. */
  readonly interfacesMax?: number;
}

export const LIMITS: Required<CaptureLimits> = {
  frameBytesMax: 262_144,
  framesMax: 16_000_000,
  interfacesMax: 4096,
};

export interface InterfaceToWrite {
  readonly linkType?: number;
  readonly snapBytes?: number;
  readonly name?: string;
  readonly description?: string;
  readonly comments?: readonly string[];
}

/** What the writers take; a CapturedFrame is one. */
export interface FrameToWrite {
  readonly frame: Uint8Array;
  /** Bytes on the wire; those of the frame when absent. */
  readonly wireBytes?: number;
  /** Since 1970, 0 when absent or null; negative times cannot be written. */
  readonly nanoseconds?: bigint | null;
  /** Frames of one object, or of equal names, share an interface block. */
  readonly interface?: InterfaceToWrite;
  readonly comments?: readonly string[];
  readonly direction?: 'inbound' | 'outbound';
}

/** A capture file that makes no sense; `offset` is the byte where it stops making any. */
export class CaptureError extends Error {
  readonly offset: number;
  constructor(message: string, offset: number) {
    super(message);
    this.name = 'CaptureError';
    this.offset = offset;
  }
}

export const SECOND = 1_000_000_000n;

/** Nanoseconds as a writer takes them. */
export function timeOf(frame: FrameToWrite): bigint {
  const time = frame.nanoseconds ?? 0n;
  if (time < 0n) throw new RangeError(`A frame of ${time} ns: capture files begin in 1970`);
  return time;
}

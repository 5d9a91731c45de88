// Capture files: pcapng written with nanosecond stamps and interface names, pcap and pcapng read (draft-ietf-opsawg-pcapng, -pcap).
// Readable by tcpdump, tshark and Wireshark.
import { closeSync, openSync, writeSync } from 'node:fs';

const SECTION = 0x0a0d0d0a;
const INTERFACE = 1;
const SIMPLE_PACKET = 3;
const ENHANCED_PACKET = 6;
const BYTE_ORDER = 0x1a2b3c4d;
const OPTION_NAME = 2;
const OPTION_RESOLUTION = 9;
export const LinkType = { Ethernet: 1, RawIp: 101 } as const;
const SNAP_BYTES = 65_535;
/** Frames are gathered to this many bytes before they are written. */
const FLUSH_BYTES = 65_536;

export interface PcapWriter {
  /** Writes one frame as seen on the named interface, at `nanoseconds` since 1970. */
  write(name: string, frame: Uint8Array, nanoseconds: bigint): void;
  flush(): void;
  close(): void;
}

/** Opens a capture file. An interface block is written when a name appears for the first time. */
export function createPcapWriter(path: string, linkType: number = LinkType.Ethernet): PcapWriter {
  const fd = openSync(path, 'w');
  const interfaces = new Map<string, number>();
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  const flush = (): void => {
    if (waitingBytes > 0) writeSync(fd, Buffer.concat(waiting));
    waiting = [];
    waitingBytes = 0;
  };
  const put = (block: Uint8Array): void => {
    waiting.push(block);
    waitingBytes += block.length;
    if (waitingBytes >= FLUSH_BYTES) flush();
  };
  put(sectionBlock());
  return {
    write: (name, frame, nanoseconds) => {
      let number = interfaces.get(name);
      if (number === undefined) {
        number = interfaces.size;
        interfaces.set(name, number);
        put(interfaceBlock(name, linkType));
      }
      put(packetBlock(number, frame, nanoseconds));
    },
    flush,
    close: () => {
      flush();
      closeSync(fd);
    },
  };
}

const padded = (bytes: number): number => (bytes + 3) & ~3;

function block(type: number, bodyBytes: number, fill: (view: DataView, bytes: Uint8Array) => void): Uint8Array {
  const total = 12 + padded(bodyBytes);
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, total, true);
  fill(new DataView(bytes.buffer, 8), bytes.subarray(8));
  view.setUint32(total - 4, total, true);
  return bytes;
}

function sectionBlock(): Uint8Array {
  return block(SECTION, 16, (view) => {
    view.setUint32(0, BYTE_ORDER, true);
    view.setUint16(4, 1, true);
    view.setBigInt64(8, -1n, true);
  });
}

function interfaceBlock(name: string, linkType: number): Uint8Array {
  const text = new TextEncoder().encode(name);
  const nameBytes = 4 + padded(text.length);
  return block(INTERFACE, 8 + nameBytes + 8 + 4, (view, bytes) => {
    view.setUint16(0, linkType, true);
    view.setUint32(4, SNAP_BYTES, true);
    view.setUint16(8, OPTION_NAME, true);
    view.setUint16(10, text.length, true);
    bytes.set(text, 12);
    view.setUint16(8 + nameBytes, OPTION_RESOLUTION, true);
    view.setUint16(10 + nameBytes, 1, true);
    view.setUint8(12 + nameBytes, 9);
  });
}

function packetBlock(number: number, frame: Uint8Array, nanoseconds: bigint): Uint8Array {
  return block(ENHANCED_PACKET, 20 + frame.length, (view, bytes) => {
    view.setUint32(0, number, true);
    view.setUint32(4, Number(nanoseconds >> 32n), true);
    view.setUint32(8, Number(nanoseconds & 0xffffffffn), true);
    view.setUint32(12, frame.length, true);
    view.setUint32(16, frame.length, true);
    bytes.set(frame, 20);
  });
}

export interface CapturedFrame {
  readonly frame: Uint8Array;
  /** Bytes on the wire; more than the frame has when the capture cut it. */
  readonly wireBytes: number;
}

/** Reads the frames of a pcap or pcapng file. Ends with an Error at the first block that makes no sense. */
export function* readCapture(file: Uint8Array): Generator<CapturedFrame, void, undefined> {
  if (file.length < 24) throw new Error('this is no capture file: shorter than a header');
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.getUint32(0, true) === SECTION) yield* readPcapng(file, view);
  else yield* readPcap(file, view);
}

const PCAP_MAGIC: readonly number[] = [0xa1b2c3d4, 0xa1b23c4d];

function* readPcap(file: Uint8Array, view: DataView): Generator<CapturedFrame, void, undefined> {
  const isLittle = PCAP_MAGIC.includes(view.getUint32(0, true));
  if (!isLittle && !PCAP_MAGIC.includes(view.getUint32(0, false))) throw new Error('this is neither pcap nor pcapng');
  let at = 24;
  while (at + 16 <= file.length) {
    const bytes = view.getUint32(at + 8, isLittle);
    if (bytes > file.length - at - 16) throw new Error(`the record at byte ${at} is longer than the file`);
    yield { frame: file.subarray(at + 16, at + 16 + bytes), wireBytes: view.getUint32(at + 12, isLittle) };
    at += 16 + bytes;
  }
}

function* readPcapng(file: Uint8Array, view: DataView): Generator<CapturedFrame, void, undefined> {
  let at = 0;
  let isLittle = true;
  while (at + 12 <= file.length) {
    const type = view.getUint32(at, isLittle);
    if (type === SECTION) isLittle = view.getUint32(at + 8, true) === BYTE_ORDER;
    const total = view.getUint32(at + 4, isLittle);
    if (total < 12 || total % 4 !== 0 || total > file.length - at)
      throw new Error(`the block at byte ${at} has length ${total}`);
    const head = type === ENHANCED_PACKET ? 28 : 12;
    if (type === ENHANCED_PACKET || type === SIMPLE_PACKET) {
      if (total < head + 4) throw new Error(`the packet block at byte ${at} is too short`);
      const wireBytes = view.getUint32(at + head - 4, isLittle);
      const bytes = type === ENHANCED_PACKET ? view.getUint32(at + 20, isLittle) : Math.min(wireBytes, total - 16);
      if (bytes > total - head - 4) throw new Error(`the packet at byte ${at} is longer than its block`);
      yield { frame: file.subarray(at + head, at + head + bytes), wireBytes };
    }
    at += total;
  }
}

// pcapng reader (draft-ietf-opsawg-pcapng): sections of either byte order, interfaces with options, enhanced, simple and obsolete packet
// blocks; every other block is skipped by its length, which must be the same at both of its ends.
import { type CaptureInterface, type CaptureLimits, type CapturedFrame, CaptureError, SECOND } from './types.ts';

export const BlockType = {
  Section: 0x0a0d0d0a,
  Interface: 1,
  ObsoletePacket: 2,
  SimplePacket: 3,
  EnhancedPacket: 6,
} as const;
export const BYTE_ORDER = 0x1a2b3c4d;
const BYTE_ORDER_SWAPPED = 0x4d3c2b1a;
/** Type and length in front, length behind. */
const FRAME_BYTES = 12;

interface Block {
  readonly type: number;
  readonly at: number;
  /** First byte behind type and length. */
  readonly body: number;
  /** First byte of the length at the end. */
  readonly end: number;
}

interface Section {
  readonly number: number;
  readonly interfaces: CaptureInterface[];
}

interface Option {
  readonly code: number;
  readonly value: Uint8Array;
}

export function* readPcapng(file: Uint8Array, limits: Required<CaptureLimits>): Generator<CapturedFrame> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const reader = new Reader(file, view, limits);
  let section: Section = { number: -1, interfaces: [] };
  for (let at = 0; at < file.length;) {
    const block = reader.block(at);
    if (block.type === BlockType.Section) section = { number: section.number + 1, interfaces: [] };
    else if (block.type === BlockType.Interface) reader.addInterface(block, section);
    else if (block.type === BlockType.EnhancedPacket || block.type === BlockType.ObsoletePacket)
      yield reader.packet(block, section);
    else if (block.type === BlockType.SimplePacket) yield reader.simplePacket(block, section);
    at = block.end + 4;
  }
}

class Reader {
  private readonly file: Uint8Array;
  private readonly view: DataView;
  private readonly limits: Required<CaptureLimits>;
  private isLittle = true;

  constructor(file: Uint8Array, view: DataView, limits: Required<CaptureLimits>) {
    this.file = file;
    this.view = view;
    this.limits = limits;
  }

  /** The block at an offset, its lengths checked against the file; a section block sets the byte order. */
  block(at: number): Block {
    if (at + FRAME_BYTES > this.file.length)
      throw new CaptureError(`the block at byte ${at} is cut: the file ends at byte ${this.file.length}`, at);
    const isSection = this.view.getUint32(at, false) === BlockType.Section;
    if (isSection) this.setByteOrder(at);
    const total = this.word(at + 4);
    const least = isSection ? 28 : FRAME_BYTES;
    if (total < least || total % 4 !== 0 || total > this.file.length - at)
      throw new CaptureError(`the block at byte ${at} has length ${total}`, at);
    const again = this.word(at + total - 4);
    if (again !== total)
      throw new CaptureError(`the block at byte ${at} has length ${total} in front and ${again} at its end`, at);
    if (isSection && this.half(at + 12) !== 1)
      throw new CaptureError(`the section block at byte ${at} has version ${this.half(at + 12)}; 1 is known`, at);
    return { type: this.word(at), at, body: at + 8, end: at + total - 4 };
  }

  private setByteOrder(at: number): void {
    const magic = this.view.getUint32(at + 8, true);
    if (magic !== BYTE_ORDER && magic !== BYTE_ORDER_SWAPPED)
      throw new CaptureError(`the section block at byte ${at} has no byte-order magic`, at + 8);
    this.isLittle = magic === BYTE_ORDER;
  }

  addInterface(block: Block, section: Section): void {
    this.atLeast(block, 8, 'interface');
    if (section.interfaces.length >= this.limits.interfacesMax)
      throw new CaptureError(`the block at byte ${block.at} is interface ${this.limits.interfacesMax + 1}`, block.at);
    const options = this.options(block, block.body + 8);
    const number = (code: number): DataView | undefined => viewOf(options, code);
    const resolution = number(9)?.getUint8(0) ?? 6;
    const offset = number(14);
    const exponent = BigInt(resolution & 127);
    section.interfaces.push({
      number: section.interfaces.length,
      section: section.number,
      linkType: this.half(block.body),
      snapBytes: this.word(block.body + 4),
      resolution: resolution & 128 ? 2n ** exponent : 10n ** exponent,
      offsetSeconds: offset !== undefined && offset.byteLength >= 8 ? offset.getBigInt64(0, this.isLittle) : 0n,
      fcsBytes: number(13)?.getUint8(0) ?? 0,
      ...named('name', textOf(options, 2)),
      ...named('description', textOf(options, 3)),
      ...named('filter', textOf(options, 11, 1)),
      ...named('system', textOf(options, 12)),
      ...named('hardware', textOf(options, 15)),
      comments: commentsOf(options),
    });
  }

  /** Enhanced packet block, and the packet block that it replaced: the same but for the first word. */
  packet(block: Block, section: Section): CapturedFrame {
    this.atLeast(block, 20, 'packet');
    const number = block.type === BlockType.EnhancedPacket ? this.word(block.body) : this.half(block.body);
    const from = this.interfaceOf(block, section, number);
    const bytes = this.word(block.body + 12);
    const first = block.body + 20;
    this.checkBytes(block, bytes, block.end - first);
    const options = this.options(block, first + ((bytes + 3) & ~3));
    const flags = viewOf(options, 2);
    const direction = flags !== undefined && flags.byteLength >= 4 ? flags.getUint32(0, this.isLittle) & 3 : 0;
    const units = (BigInt(this.word(block.body + 4)) << 32n) | BigInt(this.word(block.body + 8));
    return {
      frame: this.file.subarray(first, first + bytes),
      wireBytes: this.word(block.body + 16),
      nanoseconds: (units * SECOND) / from.resolution + from.offsetSeconds * SECOND,
      interface: from,
      comments: commentsOf(options),
      ...named('direction', direction === 1 ? 'inbound' : direction === 2 ? 'outbound' : undefined),
      offset: block.at,
    };
  }

  /** Always of interface 0, without a time; its length is the lesser of the frame's and the interface's limit. */
  simplePacket(block: Block, section: Section): CapturedFrame {
    this.atLeast(block, 4, 'packet');
    const from = this.interfaceOf(block, section, 0);
    const wireBytes = this.word(block.body);
    const first = block.body + 4;
    const bytes = from.snapBytes === 0 ? wireBytes : Math.min(wireBytes, from.snapBytes);
    this.checkBytes(block, bytes, block.end - first);
    const frame = this.file.subarray(first, first + bytes);
    return { frame, wireBytes, nanoseconds: null, interface: from, comments: [], offset: block.at };
  }

  private checkBytes(block: Block, bytes: number, room: number): void {
    if (bytes > room) throw new CaptureError(`the packet at byte ${block.at} is longer than its block`, block.at);
    if (bytes > this.limits.frameBytesMax) {
      const limit = this.limits.frameBytesMax;
      throw new CaptureError(`the packet at byte ${block.at} has ${bytes} bytes; the limit is ${limit}`, block.at);
    }
  }

  private interfaceOf(block: Block, section: Section, number: number): CaptureInterface {
    const found = section.interfaces[number];
    if (found !== undefined) return found;
    const known = section.interfaces.length;
    throw new CaptureError(
      `the packet at byte ${block.at} is of interface ${number}; its section has ${known}`,
      block.at,
    );
  }

  private atLeast(block: Block, bytes: number, kind: string): void {
    if (block.end - block.body < bytes)
      throw new CaptureError(`the ${kind} block at byte ${block.at} is too short`, block.at);
  }

  /** Options from an offset to the end of the block, or to the option that ends them. */
  private options(block: Block, from: number): Option[] {
    const found: Option[] = [];
    for (let at = from; at + 4 <= block.end;) {
      const code = this.half(at);
      const bytes = this.half(at + 2);
      if (code === 0) break;
      if (bytes > block.end - at - 4)
        throw new CaptureError(`the option at byte ${at} is longer than its block at byte ${block.at}`, at);
      found.push({ code, value: this.file.subarray(at + 4, at + 4 + bytes) });
      at += 4 + ((bytes + 3) & ~3);
    }
    return found;
  }

  private word(at: number): number {
    return this.view.getUint32(at, this.isLittle);
  }

  private half(at: number): number {
    return this.view.getUint16(at, this.isLittle);
  }
}

/** The option's value when it has at least one byte. */
function viewOf(options: readonly Option[], code: number): DataView | undefined {
  const value = options.find((option) => option.code === code)?.value;
  if (value === undefined || value.length === 0) return undefined;
  return new DataView(value.buffer, value.byteOffset, value.byteLength);
}

/** Text may end in zeros, which some writers count. */
function decode(value: Uint8Array): string {
  // A copy: not every decoder takes views on shared memory.
  return new TextDecoder().decode(value.slice()).replace(/\0+$/, '');
}

function textOf(options: readonly Option[], code: number, skip = 0): string | undefined {
  const value = options.find((option) => option.code === code)?.value;
  return value === undefined ? undefined : decode(value.subarray(skip));
}

const commentsOf = (options: readonly Option[]): string[] =>
  options.filter((option) => option.code === 1).map((option) => decode(option.value));

function named<K extends string, V>(key: K, value: V | undefined): { readonly [P in K]?: V } {
  return (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: V };
}

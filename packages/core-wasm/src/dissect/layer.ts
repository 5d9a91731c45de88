// One header as a list of fields: what every dissector writes into. Offsets count from the start of the frame, so a field can be shown there.
import { formatAddress } from '../address.ts';

export interface DissectedField {
  readonly name: string;
  /** First byte in the frame. */
  readonly offset: number;
  /** Bytes that the field touches; flags and nibbles share theirs with their neighbours. */
  readonly bytes: number;
  /** A number in host order, or text: addresses, hexadecimal, names. */
  readonly value: number | string;
  /** What the value means, where it has a name. */
  readonly meaning?: string;
  /** Why the value is wrong, where it is. */
  readonly problem?: string;
}

export interface DissectedLayer {
  /** Stable key: `ethernet`, `vlan`, `arp`, `ipv4`, `ipv6`, `hop-by-hop`, `tcp`, `gre`, … */
  readonly protocol: string;
  /** For people: `IPv4`, `Destination options`. */
  readonly title: string;
  readonly offset: number;
  /** Bytes of the header, options included, payload excluded. */
  readonly bytes: number;
  readonly fields: readonly DissectedField[];
  /** The first thing that is wrong with the layer, its fields included. */
  readonly problem?: string;
  /** True inside an ICMP error: a packet of somebody else, often cut. */
  readonly isQuoted: boolean;
}

/** What the header in front says about the one behind. */
export interface IpContext {
  readonly family: 4 | 6;
  /** 4 or 16 bytes. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** A fragment has no checksum that could be verified. */
  readonly isFragment: boolean;
  readonly isFirstFragment: boolean;
}

/** Where the next header begins, and what it is. */
export interface Next {
  readonly protocol: string;
  readonly at: number;
  /** First byte behind the packet that the header belongs to; may lie behind the frame when that is cut. */
  readonly end: number;
  readonly ip?: IpContext;
  readonly isQuoted: boolean;
  /** Tunnels and quotes passed so far. */
  readonly depth: number;
}

export type Dissector = (layer: Layer, at: Next) => Next | undefined;

type More = { readonly meaning?: string | undefined; readonly problem?: string | undefined };

export class Layer {
  readonly frame: Uint8Array;
  readonly offset: number;
  /** Bytes of the frame that the header may use. */
  readonly available: number;
  private readonly view: DataView;
  private readonly fields: DissectedField[] = [];
  private title = '';
  private protocol = '';
  private length = 0;
  private problem: string | undefined;
  private readonly isQuoted: boolean;

  constructor(frame: Uint8Array, next: Next) {
    this.frame = frame;
    this.offset = next.at;
    this.available = Math.max(0, Math.min(frame.length, next.end) - next.at);
    this.view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    this.isQuoted = next.isQuoted;
  }

  /** Names the header and its length. False, with the problem noted, when the frame has less than that of it. */
  begin(protocol: string, title: string, bytes: number): boolean {
    this.protocol = protocol;
    this.title = title;
    this.length = Math.min(bytes, this.available);
    if (this.available >= bytes) return true;
    this.wrong(`cut: ${this.available} of ${bytes} bytes`);
    this.raw('rest', 0, this.available);
    return false;
  }

  /** A longer header than it began with; false when the frame has less of it. */
  grow(bytes: number): boolean {
    this.length = Math.min(bytes, this.available);
    if (this.available >= bytes) return true;
    this.wrong(`cut: ${this.available} of ${bytes} bytes`);
    return false;
  }

  wrong(problem: string): void {
    this.problem ??= problem;
  }

  byte(at: number): number {
    return this.view.getUint8(this.offset + at);
  }
  half(at: number): number {
    return this.view.getUint16(this.offset + at);
  }
  word(at: number): number {
    return this.view.getUint32(this.offset + at);
  }
  slice(at: number, bytes: number): Uint8Array {
    return this.frame.subarray(this.offset + at, this.offset + at + bytes);
  }

  field(name: string, at: number, bytes: number, value: number | string, more: More = {}): void {
    const { meaning, problem } = more;
    if (problem !== undefined) this.wrong(`${name}: ${problem}`);
    this.fields.push({
      name,
      offset: this.offset + at,
      bytes,
      value,
      ...(meaning === undefined ? {} : { meaning }),
      ...(problem === undefined ? {} : { problem }),
    });
  }

  /** An unsigned number of one, two or four bytes. Returns it. */
  number(name: string, at: number, bytes: 1 | 2 | 4, more: More = {}): number {
    const value = bytes === 1 ? this.byte(at) : bytes === 2 ? this.half(at) : this.word(at);
    this.field(name, at, bytes, value, more);
    return value;
  }

  hex(name: string, at: number, bytes: 1 | 2 | 4, more: More = {}): number {
    const value = bytes === 1 ? this.byte(at) : bytes === 2 ? this.half(at) : this.word(at);
    this.field(name, at, bytes, `0x${value.toString(16).padStart(bytes * 2, '0')}`, more);
    return value;
  }

  /** Named bits of a value, set ones listed: `SYN, ACK`. */
  flags(name: string, at: number, bytes: number, value: number, names: Readonly<Record<number, string>>): void {
    const set = Object.entries(names).filter(([bit]) => (value & Number(bit)) !== 0);
    const meaning = set.length === 0 ? 'none' : set.map(([, text]) => text).join(', ');
    this.field(name, at, bytes, `0x${value.toString(16)}`, { meaning });
  }

  address(name: string, at: number, bytes: 4 | 16, more: More = {}): Uint8Array {
    const value = this.slice(at, bytes);
    this.field(name, at, bytes, addressText(value), more);
    return value;
  }

  mac(name: string, at: number, more: More = {}): void {
    const value = Array.from(this.slice(at, 6), (byte) => byte.toString(16).padStart(2, '0')).join(':');
    const first = this.byte(at);
    const meaning = value === 'ff:ff:ff:ff:ff:ff' ? 'broadcast' : first & 1 ? 'group' : undefined;
    this.field(name, at, 6, value, { meaning, ...more });
  }

  raw(name: string, at: number, bytes: number, more: More = {}): void {
    if (bytes > 0) this.field(name, at, bytes, hexText(this.slice(at, bytes)), more);
  }

  /**
   * The options of IPv4 and TCP from `at` to the end of the header: 0 ends the list, 1 is padding, all others have a length behind their kind
   * and go to `each`. What runs past the header is shown and ends the walk.
   */
  options(
    at: number,
    end: number,
    names: Readonly<Record<number, string>>,
    each: (name: string, kind: number, at: number, bytes: number) => void,
  ): void {
    while (at < end) {
      const kind = this.byte(at);
      const name = names[kind] ?? `option ${kind}`;
      if (kind === 0) return this.raw(name, at, end - at);
      if (kind === 1) {
        this.field(name, at, 1, kind);
        at += 1;
        continue;
      }
      const bytes = at + 1 < end ? this.byte(at + 1) : 0;
      if (bytes < 2 || at + bytes > end) return this.raw(name, at, end - at, { problem: 'longer than the header' });
      each(name, kind, at, bytes);
      at += bytes;
    }
  }

  result(): DissectedLayer {
    return {
      protocol: this.protocol,
      title: this.title,
      offset: this.offset,
      bytes: this.length,
      fields: this.fields,
      ...(this.problem === undefined ? {} : { problem: this.problem }),
      isQuoted: this.isQuoted,
    };
  }
}

/** Text of 4 or 16 bytes on the wire; an IPv4-mapped IPv6 address keeps its colons. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const text = formatAddress(bytes);
  return text.includes(':') ? text : `::ffff:${text}`;
}

export function hexText(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

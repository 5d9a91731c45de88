// What the tests of meters, cookies and TCP options share: the functions as a wasm of their own, places in its memory,
// segments with options.
import { createHash } from 'node:crypto';
import { CookieState, Segment, TcpView } from '../layout/index.ts';
import { type TcpOptions, ipPacket, tcp } from '../../../tools/testkit/build.ts';
import { type IpLayer, parseIp, pseudoSum, sum } from '../../../tools/testkit/parse.ts';
import { bytes16 } from './endpoint-fixture.ts';
import { type Wire, wire } from './wire.ts';

/** Places in the one page; packets get room in front. */
export const PLACE = {
  state: 8192,
  view: 8448,
  segment: 8704,
  address: 8960,
  other: 8976,
  meter: 9216,
  packet: 16384,
} as const;
export const CLIENT = '198.51.100.1';
export const VIP = '203.0.113.10';
export const CLIENT6 = '2001:db8:c::1';
export const VIP6 = '2001:db8:5::10';

export const metersWire = (): Promise<Wire> => wire('assembly/tcp/testing.ts');

/** A segment whose options are these bytes, padded with end-of-list. */
export function segment(options: string, more: TcpOptions & { window?: number } = {}): ReturnType<typeof tcp> {
  const built = tcp(more);
  const list = Buffer.from(options, 'hex');
  const padded = Buffer.concat([list, Buffer.alloc((4 - (list.length % 4)) % 4)]);
  const bytes = Buffer.concat([built.bytes.subarray(0, 20), padded, built.bytes.subarray(20)]);
  bytes.writeUInt8(((20 + padded.length) / 4) << 4, 12);
  if (more.window !== undefined) bytes.writeUInt16BE(more.window, 14);
  return { ...built, bytes };
}

export const headerBytes = (packet: Uint8Array): number => ((packet[0] ?? 0) >> 4 === 4 ? 20 : 40);

/** Lays the packet down and calls with the addresses of its IP and TCP headers. */
export function lay(under: Wire, packet: Buffer, at: number = PLACE.packet): { ip: number; tcp: number } {
  under.put(packet, at);
  return { ip: at, tcp: at + headerBytes(packet) };
}

export const reread = (packet: Buffer): IpLayer => parseIp(packet, (packet[0] ?? 0) >> 4 === 4 ? 0x0800 : 0x86dd)!;

/** By the plain definition, also where the options are nonsense. */
export function isTcpChecksumValid(packet: Buffer): boolean {
  const header = headerBytes(packet);
  const addresses = packet.subarray(header === 20 ? 12 : 8, header);
  const segmentBytes = packet.subarray(header);
  return sum(segmentBytes, pseudoSum(addresses, 6, segmentBytes.length)) === 0xffff;
}

export const layAddress = (under: Wire, text: string, at: number = PLACE.address): number =>
  under.put(bytes16(text), at);

export interface View {
  flags: number;
  mss: number;
  scale: number;
  sackBlocks: number;
  sackAt: number;
  timestampAt: number;
  toaAt: number;
  toaBytes: number;
  usedBytes: number;
  tsval: number;
  tsecr: number;
}

type Definition = { readonly fields: Readonly<Record<string, readonly [string, string]>>; readonly at: object };

/** The number fields of a record. */
export function readRecord(under: Wire, definition: Definition, address: number): Record<string, number> {
  const view = new DataView(under.bytes.buffer);
  const read: Record<string, number> = {};
  for (const [name, [type]] of Object.entries(definition.fields)) {
    const at = address + (definition.at as Record<string, number>)[name]!;
    if (type === 'u8') read[name] = view.getUint8(at);
    else if (type === 'u16') read[name] = view.getUint16(at, true);
    else if (type === 'u32') read[name] = view.getUint32(at, true);
    else if (type === 'u64') read[name] = Number(view.getBigUint64(at, true));
  }
  return read;
}

export const viewOf = (under: Wire): View => readRecord(under, TcpView, PLACE.view) as unknown as View;
export const segmentOf = (under: Wire): Record<string, number> => readRecord(under, Segment, PLACE.segment);

/** A key for the epoch and one on either side, each its own. */
export function writeCookieState(under: Wire, epoch: number, clockMs = 0): void {
  const view = new DataView(under.bytes.buffer);
  for (const [name, value] of Object.entries({ isReady: 1, epoch, clockMs }))
    view.setUint32(PLACE.state + CookieState.at[name as keyof typeof CookieState.at], value, true);
  for (const near of [epoch - 1, epoch, epoch + 1]) {
    const key = createHash('sha256')
      .update(`epoch ${near >>> 0}`)
      .digest();
    under.bytes.set(key.subarray(0, 16), PLACE.state + CookieState.at.key0Low + (near & 3) * 16);
  }
}

export const packetOf = (source: string, destination: string, payload: ReturnType<typeof tcp>): Buffer =>
  ipPacket(source, destination, payload);

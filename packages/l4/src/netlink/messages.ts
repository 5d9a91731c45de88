// rtnetlink messages, bytes only (rtnetlink(7), linux/rtnetlink.h, linux/neighbour.h): read links, addresses, routes, neighbours; write requests.

export const MessageType = {
  Error: 2,
  Done: 3,
  NewLink: 16,
  DeleteLink: 17,
  GetLink: 18,
  NewAddress: 20,
  DeleteAddress: 21,
  GetAddress: 22,
  NewRoute: 24,
  DeleteRoute: 25,
  GetRoute: 26,
  NewNeighbour: 28,
  DeleteNeighbour: 29,
  GetNeighbour: 30,
} as const;

export const RequestFlag = { Request: 1, Ack: 4, Dump: 0x300, Replace: 0x100, Create: 0x400 } as const;

/** Neighbour states in which the link address must not be used; every other state with an address is good (STALE, DELAY too). */
const NEIGHBOUR_INCOMPLETE = 0x01;
const NEIGHBOUR_FAILED = 0x20;

export interface KernelLink {
  readonly index: number;
  readonly name: string;
  readonly mac: Uint8Array | null;
  readonly mtu: number;
  readonly isUp: boolean;
}

export interface KernelAddress {
  readonly device: number;
  /** 16 bytes; IPv4 as ::ffff:a.b.c.d. */
  readonly address: Uint8Array;
  /** Of 128: an IPv4 /24 is 120. */
  readonly bits: number;
}

export interface KernelRoute {
  readonly prefix: Uint8Array;
  readonly bits: number;
  /** Null: the destination is on the link. */
  readonly gateway: Uint8Array | null;
  /** 0 for blackholes and their kind. */
  readonly device: number;
  readonly type: number;
  readonly table: number;
  readonly priority: number;
  /** 0: that of the device. */
  readonly mtu: number;
}

export interface KernelNeighbour {
  readonly device: number;
  readonly address: Uint8Array;
  /** Null while unresolved. */
  readonly mac: Uint8Array | null;
}

export type KernelObject =
  | { readonly kind: 'link'; readonly isGone: boolean; readonly link: KernelLink }
  | { readonly kind: 'address'; readonly isGone: boolean; readonly address: KernelAddress }
  | { readonly kind: 'route'; readonly isGone: boolean; readonly route: KernelRoute }
  | { readonly kind: 'neighbour'; readonly isGone: boolean; readonly neighbour: KernelNeighbour };

export interface Message {
  readonly type: number;
  readonly sequence: number;
  readonly body: Uint8Array;
}

const HEADER_BYTES = 16;
const FAMILY_V4 = 2;
const FAMILY_V6 = 10;
const IFF_UP = 1;
const NTF_USE = 1;
const NTF_EXT_MANAGED = 1;

/** Splits what one read gave into messages; a length that makes no sense ends it. */
export function* messagesOf(bytes: Uint8Array): Generator<Message, void, undefined> {
  const view = viewOf(bytes);
  let at = 0;
  while (at + HEADER_BYTES <= bytes.length) {
    const length = view.getUint32(at, true);
    if (length < HEADER_BYTES || length > bytes.length - at) return;
    const body = bytes.subarray(at + HEADER_BYTES, at + length);
    yield { type: view.getUint16(at + 4, true), sequence: view.getUint32(at + 8, true), body };
    at += (length + 3) & ~3;
  }
}

/** What a message says, or null when it is about something else. */
export function objectOf({ type, body }: Message): KernelObject | null {
  const isGone = (type & 1) === 1;
  switch (type & ~1) {
    case MessageType.NewLink:
      return body.length < 16 ? null : { kind: 'link', isGone, link: linkOf(body) };
    case MessageType.NewAddress:
      return body.length < 8 ? null : wrap(addressOf(body), (address) => ({ kind: 'address', isGone, address }));
    case MessageType.NewRoute:
      return body.length < 12 ? null : wrap(routeOf(body), (route) => ({ kind: 'route', isGone, route }));
    case MessageType.NewNeighbour:
      return body.length < 12
        ? null
        : wrap(neighbourOf(body), (neighbour) => ({ kind: 'neighbour', isGone, neighbour }));
    default:
      return null;
  }
}

const wrap = <T>(value: T | null, make: (value: T) => KernelObject): KernelObject | null =>
  value === null ? null : make(value);

function linkOf(body: Uint8Array): KernelLink {
  const view = viewOf(body);
  const attributes = attributesOf(body, 16);
  const mac = attributes.get(1);
  return {
    index: view.getInt32(4, true),
    name: new TextDecoder().decode(attributes.get(3)?.slice(0, -1) ?? new Uint8Array()),
    mac: mac?.length === 6 ? mac.slice() : null,
    mtu: wordOf(attributes.get(4)),
    isUp: (view.getUint32(8, true) & IFF_UP) !== 0,
  };
}

function addressOf(body: Uint8Array): KernelAddress | null {
  const attributes = attributesOf(body, 8);
  const address = wide(attributes.get(2) ?? attributes.get(1));
  const family = body[0];
  if (address === null) return null;
  return { device: viewOf(body).getUint32(4, true), address, bits: (body[1] ?? 0) + (family === FAMILY_V4 ? 96 : 0) };
}

function routeOf(body: Uint8Array): KernelRoute | null {
  const [family = 0, bits = 0] = body;
  if (family !== FAMILY_V4 && family !== FAMILY_V6) return null;
  const attributes = attributesOf(body, 12);
  // An equal-cost route: its first hop is taken; one uplink per director (P36).
  const hop = attributes.get(9);
  const hopAttributes = hop === undefined || hop.length < 8 ? new Map<number, Uint8Array>() : attributesOf(hop, 8);
  const via = attributes.get(18) ?? hopAttributes.get(18);
  const gateway = wide(attributes.get(5) ?? hopAttributes.get(5) ?? via?.subarray(2));
  const metrics = attributes.get(8);
  const device = hop !== undefined && hop.length >= 8 ? viewOf(hop).getInt32(4, true) : wordOf(attributes.get(4));
  return {
    prefix: wide(attributes.get(1)) ?? zeroOf(family),
    bits: family === FAMILY_V4 ? bits + 96 : bits,
    gateway,
    device,
    type: body[7] ?? 0,
    table: attributes.has(15) ? wordOf(attributes.get(15)) : (body[4] ?? 0),
    priority: wordOf(attributes.get(6)),
    mtu: metrics === undefined ? 0 : wordOf(attributesOf(metrics, 0).get(2)),
  };
}

function neighbourOf(body: Uint8Array): KernelNeighbour | null {
  const view = viewOf(body);
  const attributes = attributesOf(body, 12);
  const address = wide(attributes.get(1));
  if (address === null) return null;
  const state = view.getUint16(8, true);
  const mac = attributes.get(2);
  const isKnown = mac?.length === 6 && (state & (NEIGHBOUR_INCOMPLETE | NEIGHBOUR_FAILED)) === 0;
  return { device: view.getInt32(4, true), address, mac: isKnown ? mac.slice() : null };
}

/** Attributes by type; a length that makes no sense ends the list. */
function attributesOf(body: Uint8Array, from: number): Map<number, Uint8Array> {
  const attributes = new Map<number, Uint8Array>();
  const view = viewOf(body);
  let at = from;
  while (at + 4 <= body.length) {
    const length = view.getUint16(at, true);
    if (length < 4 || length > body.length - at) break;
    attributes.set(view.getUint16(at + 2, true) & 0x3fff, body.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return attributes;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function wordOf(attribute: Uint8Array | undefined): number {
  return attribute === undefined || attribute.length < 4 ? 0 : viewOf(attribute).getUint32(0, true);
}

function zeroOf(family: number): Uint8Array {
  return family === FAMILY_V4 ? (wide(new Uint8Array(4)) as Uint8Array) : new Uint8Array(16);
}

function wide(bytes: Uint8Array | undefined): Uint8Array | null {
  if (bytes?.length === 16) return bytes.slice();
  if (bytes?.length !== 4) return null;
  return Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...bytes);
}

export function isV4(address: Uint8Array): boolean {
  return address.subarray(0, 10).every((byte) => byte === 0) && address[10] === 0xff && address[11] === 0xff;
}

/** A dump request; `bodyBytes` zeros ask for all families. */
export function dumpRequest(type: number, sequence: number): Uint8Array {
  return request(type, RequestFlag.Request | RequestFlag.Dump, sequence, new Uint8Array(16));
}

/** Asks the kernel to resolve a neighbour; `managed` makes it keep the entry fresh without traffic (Linux 5.16 and later). */
export function resolveRequest(device: number, address: Uint8Array, isManaged: boolean, sequence: number): Uint8Array {
  const short = isV4(address) ? address.subarray(12) : address;
  const body = new Uint8Array(12 + 4 + short.length + (isManaged ? 8 : 0));
  const view = viewOf(body);
  body[0] = isV4(address) ? FAMILY_V4 : FAMILY_V6;
  view.setInt32(4, device, true);
  body[10] = isManaged ? 0 : NTF_USE;
  view.setUint16(12, 4 + short.length, true);
  view.setUint16(14, 1, true);
  body.set(short, 16);
  if (isManaged) {
    view.setUint16(16 + short.length, 8, true);
    view.setUint16(18 + short.length, 15, true);
    view.setUint32(20 + short.length, NTF_EXT_MANAGED, true);
  }
  const flags = RequestFlag.Request | RequestFlag.Ack | RequestFlag.Create | RequestFlag.Replace;
  return request(MessageType.NewNeighbour, flags, sequence, body);
}

function request(type: number, flags: number, sequence: number, body: Uint8Array): Uint8Array {
  const message = new Uint8Array(HEADER_BYTES + body.length);
  const view = viewOf(message);
  view.setUint32(0, message.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, sequence, true);
  message.set(body, HEADER_BYTES);
  return message;
}

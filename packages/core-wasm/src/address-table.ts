// Writes the address table of a bank; assembly/table/address.ts reads it with the same hash.
import { AddressEntry } from '../layout/index.ts';

export class AddressTable {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly at: number;
  private readonly slots: number;
  private entries = 0;

  /** Empties the table. */
  constructor(buffer: ArrayBufferLike, at: number, slots: number) {
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.at = at;
    this.slots = slots;
    this.bytes.fill(0, at, at + slots * AddressEntry.bytes);
  }

  get size(): number {
    return this.entries;
  }

  /** Adds an entry, or replaces the value of the same key. A table more than half full is refused. */
  put(kind: number, net: number, address: Uint8Array, port: number, protocol: number, value: number): void {
    const found = this.find(kind, net, address, port, protocol);
    if (this.bytes[found + AddressEntry.at.kind] === 0) {
      if (this.entries * 2 >= this.slots)
        throw new RangeError('The address table is full: raise listeners, targets or eips in the memory plan');
      this.entries++;
      this.bytes.set(address, found);
      this.view.setUint32(found + AddressEntry.at.net, net, true);
      this.view.setUint16(found + AddressEntry.at.port, port, true);
      this.bytes[found + AddressEntry.at.protocol] = protocol;
      this.bytes[found + AddressEntry.at.kind] = kind;
      this.view.setUint32(found + AddressEntry.at.hash, hashOf(this.view, found), true);
    }
    this.view.setUint32(found + AddressEntry.at.value, value, true);
  }

  /** The value of a key, or undefined. */
  get(kind: number, net: number, address: Uint8Array, port: number, protocol: number): number | undefined {
    const found = this.find(kind, net, address, port, protocol);
    return this.bytes[found + AddressEntry.at.kind] === 0
      ? undefined
      : this.view.getUint32(found + AddressEntry.at.value, true);
  }

  private find(kind: number, net: number, address: Uint8Array, port: number, protocol: number): number {
    const key = new DataView(new ArrayBuffer(AddressEntry.bytes));
    new Uint8Array(key.buffer).set(address);
    key.setUint32(AddressEntry.at.net, net, true);
    key.setUint16(AddressEntry.at.port, port, true);
    key.setUint8(AddressEntry.at.protocol, protocol);
    key.setUint8(AddressEntry.at.kind, kind);
    let slot = (hashOf(key, 0) & (this.slots - 1)) >>> 0;
    for (;;) {
      const entry = this.at + slot * AddressEntry.bytes;
      if (this.bytes[entry + AddressEntry.at.kind] === 0 || this.isKey(entry, key)) return entry;
      slot = (slot + 1) & (this.slots - 1);
    }
  }

  private isKey(entry: number, key: DataView): boolean {
    for (let at = 0; at < AddressEntry.at.value; at += 4) {
      if (this.view.getUint32(entry + at, true) !== key.getUint32(at, true)) return false;
    }
    return true;
  }
}

/** Words 0–3 are the address, word 4 the net, word 5 port, protocol and kind. */
function hashOf(view: DataView, at: number): number {
  const word = (index: number): number => view.getUint32(at + index * 4, true);
  let hash =
    (Math.imul(word(0), 0x9e3779b1) +
      Math.imul(word(1), 0x85ebca77) +
      Math.imul(word(2), 0xc2b2ae3d) +
      Math.imul(word(3), 0x27d4eb2f) +
      Math.imul(word(4), 0x165667b1) +
      Math.imul(word(5), 0xd3a2646d)) |
    0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

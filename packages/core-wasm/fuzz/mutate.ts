// Makes inputs out of seeds and out of what the core has just sent: answers that carry flows on, and mutations that know where the fields
// are. The same random numbers make the same input.
import type { Random } from './random.ts';
import type { Input } from './rig.ts';
import { Layers, repair, setWord, word } from './wire.ts';

/** Longest frame made. */
export const FRAME_MAX = 1700;
const BYTES = [0, 1, 0x7f, 0x80, 0xff, 0x45, 0x60, 0x40];
const WORDS = [0, 1, 8, 19, 20, 40, 0x1fff, 0x2000, 0x4000, 0x8000, 0xffff, 1500];
const PROTOCOLS = [0, 1, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 255];
/** TCP flags of a conversation in the order in which a peer would answer. */
const FLAGS = [0x10, 0x18, 0x18, 0x10, 0x11, 0x14, 0x02, 0x12];
const layers = new Layers();

/** Offset of the first IP header: 0 on ports without link headers. */
export const startOf = (bytes: Uint8Array, isEthernet: boolean): number =>
  isEthernet ? (word(bytes, 12) === 0x8100 ? 18 : 14) : 0;

/** Turns a sent frame into the answer of whoever gets it: link, network and transport ends change places, at every layer. */
export function answer(input: Input, isEthernet: boolean, random: Random): void {
  const { bytes } = input;
  if (isEthernet) swap(bytes, 0, 6, 6);
  layers.read(bytes, startOf(bytes, isEthernet), input.length);
  for (let layer = 0; layer < layers.count; layer++) {
    const l3 = layers.l3[layer] as number;
    const isV4 = layers.family[layer] === 4;
    if (isV4) swap(bytes, l3 + 12, l3 + 16, 4);
    else swap(bytes, l3 + 8, l3 + 24, 16);
    bytes[l3 + (isV4 ? 8 : 7)] = 64;
  }
  const last = layers.count - 1;
  if (last < 0 || layers.fragment[last] === 2) return;
  const l4 = layers.l4[last] as number;
  const protocol = layers.protocol[last];
  if (protocol === 6 || protocol === 17 || protocol === 132) swap(bytes, l4, l4 + 2, 2);
  if (protocol === 6) {
    const flags = bytes[l4 + 13] as number;
    bytes[l4 + 13] = flags === 2 ? 0x12 : flags === 0x12 ? 0x10 : random.pick(FLAGS);
  }
  repair(bytes, layers);
}

function swap(bytes: Uint8Array, left: number, right: number, count: number): void {
  for (let index = 0; index < count; index++) {
    const kept = bytes[left + index] as number;
    bytes[left + index] = bytes[right + index] as number;
    bytes[right + index] = kept;
  }
}

/** Another client or another port of it: most seeds open a flow of their own this way. */
export function vary(input: Input, isEthernet: boolean, random: Random): void {
  const { bytes } = input;
  layers.read(bytes, startOf(bytes, isEthernet), input.length);
  const last = layers.count - 1;
  if (last < 0 || layers.odd !== 0) return;
  const l4 = layers.l4[last] as number;
  const protocol = layers.protocol[last];
  if (layers.fragment[last] !== 0) {
    // Fragments of one datagram must share their identification, so only a few values are used.
    if (layers.family[last] === 4) setWord(bytes, (layers.l3[last] as number) + 4, random.below(16));
  } else if (protocol === 6 || protocol === 17 || protocol === 132) {
    // The port that is not the service: clients use high ones in every seed.
    const at = word(bytes, l4) >= word(bytes, l4 + 2) || layers.count === 1 ? l4 : l4 + 2;
    if (word(bytes, at) > 1024) setWord(bytes, at, 32768 + random.below(random.once(4) ? 32768 : 64));
    if (protocol === 6 && random.once(4)) bytes[l4 + 13] = random.pick(FLAGS);
  }
  repair(bytes, layers);
}

/** A few edits anywhere; the checksums are made true again half of the time, so that the packet gets past the first check. */
export function mutate(input: Input, isEthernet: boolean, random: Random, seeds: readonly Uint8Array[]): void {
  for (let edits = 1 + random.below(4); edits > 0; edits--) edit(input, isEthernet, random, seeds);
  if (random.once(2)) return;
  layers.read(input.bytes, startOf(input.bytes, isEthernet), input.length);
  repair(input.bytes, layers);
}

function edit(input: Input, isEthernet: boolean, random: Random, seeds: readonly Uint8Array[]): void {
  const { bytes } = input;
  const at = random.below(Math.max(1, Math.min(input.length, 160)));
  switch (random.below(12)) {
    case 0:
      bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
      return;
    case 1:
      bytes[at] = random.pick(BYTES);
      return;
    case 2:
      input.length = random.below(input.length + 1);
      return;
    case 3: {
      const more = random.below(200);
      const end = Math.min(FRAME_MAX, input.length + more);
      bytes.fill(random.next(), input.length, end);
      input.length = end;
      return;
    }
    case 4:
      splice(input, random.pick(seeds), at, random);
      return;
    default:
      editField(input, isEthernet, random, seeds);
  }
}

function splice(input: Input, other: Uint8Array, at: number, random: Random): void {
  const from = random.once(2) ? at : random.below(Math.max(1, other.length));
  const part = other.subarray(from, Math.min(other.length, from + 1 + random.below(64)));
  if (at + part.length > FRAME_MAX) return;
  input.bytes.set(part, at);
  input.length = Math.max(input.length, at + part.length);
}

function editField(input: Input, isEthernet: boolean, random: Random, seeds: readonly Uint8Array[]): void {
  const { bytes } = input;
  layers.read(bytes, startOf(bytes, isEthernet), input.length);
  if (layers.count === 0) return;
  const layer = random.below(layers.count);
  const l3 = layers.l3[layer] as number;
  const isV4 = layers.family[layer] === 4;
  const l4 = layers.l4[layer] as number;
  switch (random.below(9)) {
    case 0:
      bytes[l3 + (isV4 ? 8 : 7)] = random.below(4);
      return;
    case 1:
      bytes[l3 + (isV4 ? 9 : 6)] = random.pick(PROTOCOLS);
      return;
    case 2:
      setWord(bytes, l3 + (isV4 ? 2 : 4), random.once(2) ? random.pick(WORDS) : input.length - l3);
      return;
    case 3:
      setWord(bytes, l3 + 6, random.once(2) ? random.pick(WORDS) : random.below(65536));
      return;
    case 4:
      copyAddress(bytes, l3, isV4, random, random.pick(seeds));
      return;
    case 5:
      setWord(bytes, l4 + 2 * random.below(2), random.once(2) ? 80 + random.below(20) : random.below(65536));
      return;
    case 6:
      bytes[l4 + 13] = random.next();
      return;
    case 7:
      setWord(bytes, l4 + 2 * random.below(8), random.pick(WORDS));
      return;
    default:
      bytes[l3] = random.pick(BYTES);
  }
}

/** Gives a packet the source or destination of another seed. */
function copyAddress(bytes: Uint8Array, l3: number, isV4: boolean, random: Random, other: Uint8Array): void {
  const size = isV4 ? 4 : 16;
  const base = isV4 ? 12 : 8;
  const to = l3 + base + (random.once(2) ? size : 0);
  const from = 14 + base + (random.once(2) ? size : 0);
  if (from + size <= other.length) bytes.set(other.subarray(from, from + size), to);
}

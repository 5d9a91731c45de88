// A port's own record in linear memory, seen from TypeScript: written at set-up, its counters read for statistics.
import { PortKind, PortState, portLimits } from '@openclb/core-wasm/layout';
import type { PortRoom } from './port.ts';

export { PortKind, portLimits };
export const CHUNK_BYTES = 2048;
export const PAGE_BYTES = 4096;
/** Chunks at the start of a packet or copy port's arena for frames that the core makes or copies. */
export const OWN_CHUNKS = 64;

const COUNTERS = [
  'rxFrames',
  'rxBytes',
  'txFrames',
  'txBytes',
  'txCopied',
  'rxTruncated',
  'rxMalformed',
  'rxNoChunk',
  'rxCompleted',
  'txOversize',
  'txRingFull',
  'txNoChunk',
  'txMalformed',
  'txRefused',
  'badChunk',
] as const;
type Counter = (typeof COUNTERS)[number];
type Word = Exclude<
  keyof typeof PortState.at,
  Counter | 'memoryBase' | 'mac' | 'mtu' | 'kind' | 'index' | 'layer' | 'flags'
>;

export interface State {
  readonly words: Uint32Array;
  readonly bytes: Uint8Array;
  get(word: Word): number;
  set(word: Word, value: number): void;
  add(counter: Counter, value: number): void;
  counters(): Record<string, number>;
  clear(): void;
}

/** Checks the room of a port and opens its record, which is zero afterwards. */
export function openState(room: PortRoom): State {
  checkRoom(room);
  const { buffer } = room.memory;
  const words = new Uint32Array(buffer, 0, Math.floor(buffer.byteLength / 4));
  const bytes = new Uint8Array(buffer);
  const wide = new BigUint64Array(buffer, room.state, PortState.bytes / 8);
  wide.fill(0n);
  const at = (word: Word): number => (room.state + PortState.at[word]) >>> 2;
  return {
    words,
    bytes,
    get: (word) => words[at(word)] ?? 0,
    set: (word, value) => {
      words[at(word)] = value;
    },
    add: (counter, value) => {
      const slot = PortState.at[counter] >>> 3;
      wide[slot] = (wide[slot] ?? 0n) + BigInt(value);
    },
    counters: () => Object.fromEntries(COUNTERS.map((name) => [name, Number(wide[PortState.at[name] >>> 3] ?? 0n)])),
    clear: () => {
      bytes[room.state + PortState.at.kind] = PortKind.None;
    },
  };
}

/** What all kinds write: who they are and what may be sent. Kind comes last, because it makes the port exist for the core. */
export function describe(
  state: State,
  room: PortRoom,
  port: { kind: number; index: number; layer: 2 | 3; mtu: number; mac: Uint8Array | null; base?: bigint },
): void {
  const view = new DataView(room.memory.buffer, room.state, PortState.bytes);
  const linkBytes = port.layer === 2 ? 14 : 0;
  state.set('frameBytesMax', Math.min(port.mtu + linkBytes, CHUNK_BYTES));
  state.set('arena', room.arena);
  state.set('arenaBytes', room.chunks * CHUNK_BYTES);
  view.setBigUint64(PortState.at.memoryBase, port.base ?? 0n, true);
  view.setUint16(PortState.at.mtu, Math.min(port.mtu, 0xffff), true);
  if (port.mac !== null) state.bytes.set(port.mac, room.state + PortState.at.mac);
  view.setUint8(PortState.at.index, port.index);
  view.setUint8(PortState.at.layer, port.layer);
  view.setUint8(PortState.at.kind, port.kind);
}

/** Puts chunks `from` … of the arena on the free stack at `address`. */
export function stackChunks(state: State, room: PortRoom, address: number, from: number): void {
  const count = room.chunks - from;
  for (let i = 0; i < count; i++) state.words[(address >>> 2) + i] = room.arena + (room.chunks - 1 - i) * CHUNK_BYTES;
  state.set('freeStack', address);
  state.set('freeCount', count);
  state.set('freeMax', count);
}

function checkRoom(room: PortRoom): void {
  const { chunks } = room;
  if (chunks < 128 || chunks > 16_384 || (chunks & (chunks - 1)) !== 0) {
    throw new Error(`a port needs 128 to 16384 chunks, a power of two; ${chunks} were planned`);
  }
  if (room.area % PAGE_BYTES !== 0 || (room.slab + room.arena) % PAGE_BYTES !== 0 || room.state % 8 !== 0) {
    throw new Error(
      'port area and arena must start on a page, the port record on 8 bytes: this is a defect of the memory plan',
    );
  }
  const end = Math.max(room.area + portLimits.PORT_AREA_BYTES, room.slab + room.arena + chunks * CHUNK_BYTES);
  if (end > room.memory.buffer.byteLength)
    throw new Error('the room of the port ends behind the memory: a defect of the memory plan');
}

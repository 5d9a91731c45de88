// Nanoseconds that NAT64 takes for one TCP packet, by direction, kind and number of flows. Packets are laid back by the same code in the
// timed and in the empty loop; the best of many short rounds counts, because a busy machine only ever adds time.
import { Nat64Memory, loadNat64Module } from '../src/nat64-memory.ts';
import type { Row } from '../../../tools/bench/row.ts';

const ROUNDS = 300;
const PER_ROUND = 2000;
const PAYLOAD_BYTES = 20;
const GOAL_NS = 80;

/** One TCP packet; a port of the client makes the flow. The checksum is left out: it is only ever updated. */
function packet(version: 4 | 6, flags: number): Uint8Array {
  const l4 = Uint8Array.of(0x10, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 1, 0, 0x12, 0x34, 0, 0);
  const tail = new Uint8Array(PAYLOAD_BYTES);
  if (version === 6) {
    const header = Uint8Array.of(0x60, 0, 0, 0, 0, 20 + PAYLOAD_BYTES, 6, 64);
    const source = Uint8Array.of(0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9);
    const target = Uint8Array.of(0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8);
    return Uint8Array.of(...header, ...source, ...target, ...l4, ...tail);
  }
  const header = Uint8Array.of(
    0x45,
    0,
    0,
    40 + PAYLOAD_BYTES,
    0,
    0,
    0x40,
    0,
    64,
    6,
    0,
    0,
    8,
    8,
    8,
    8,
    198,
    51,
    100,
    64,
  );
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += ((header[at] ?? 0) << 8) | (header[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  header[10] = (~sum >> 8) & 255;
  header[11] = ~sum & 255;
  const back = Uint8Array.of(...l4);
  back.set([0, 80, 0x10, 0], 0);
  return Uint8Array.of(...header, ...back, ...tail);
}

/** Best time of one packet in nanoseconds, without what laying it back and one call into wasm cost. */
function time(memory: Nat64Memory, version: 4 | 6, flows: number): number {
  const words = new Uint32Array(memory.bytes.buffer);
  const halves = new Uint16Array(memory.bytes.buffer);
  const template = new Uint32Array(packet(version, 0x10).slice().buffer);
  const at = memory.packetAt;
  const portAt = at + (version === 6 ? 40 : 22);
  const bytes = template.length * 4;
  const { nat64Translate, nat64IsInside } = memory.functions;
  const scratch = memory.scratch;
  const lay = (index: number): void => {
    words.set(template, at / 4);
    const port = 4096 + (index % flows);
    halves[portAt / 2] = (port >> 8) | ((port & 255) << 8);
  };
  let [full, empty, translated] = [Infinity, Infinity, 0];
  for (let round = 0; round < ROUNDS; round++) {
    let start = process.hrtime.bigint();
    for (let index = 0; index < PER_ROUND; index++) {
      lay(index);
      translated += nat64Translate?.(memory.state, at, bytes, 1000) === 1 ? 1 : 0;
    }
    full = Math.min(full, Number(process.hrtime.bigint() - start));
    start = process.hrtime.bigint();
    for (let index = 0; index < PER_ROUND; index++) {
      lay(index);
      nat64IsInside?.(scratch, scratch, 96);
    }
    empty = Math.min(empty, Number(process.hrtime.bigint() - start));
  }
  if (translated !== ROUNDS * PER_ROUND)
    throw new Error(`${translated} of ${ROUNDS * PER_ROUND} packets were translated`);
  return (full - empty) / PER_ROUND;
}

async function open(flows: number): Promise<Nat64Memory> {
  const stateful = { pool: ['198.51.100.64'], bindings: Math.max(64, flows) };
  const memory = new Nat64Memory(flows === 0 ? { localPrefix: '2001:db8::/96', allowNonGlobal: true } : { stateful });
  await memory.open(await loadNat64Module());
  for (let index = 0; index < flows; index++) {
    for (const [version, flags, at] of [
      [6, 2, 40],
      [4, 0x12, 22],
    ] as const) {
      const syn = packet(version, flags);
      syn.set([(4096 + index) >> 8, (4096 + index) & 255], at);
      memory.bytes.set(syn, memory.packetAt);
      memory.call('nat64Translate', memory.state, memory.packetAt, syn.length, 0);
    }
  }
  return memory;
}

export async function run(): Promise<Row[]> {
  const rows: Row[] = [];
  const note = `goal ${GOAL_NS} ns`;
  const stateless = await open(0);
  for (const version of [6, 4] as const) {
    const way = version === 6 ? 'IPv6 to IPv4' : 'IPv4 to IPv6';
    rows.push({ what: `NAT64 TCP ${way}, stateless`, value: time(stateless, version, 1), unit: 'ns', note });
    for (const flows of [1, 1000, 50_000]) {
      const memory = await open(flows);
      rows.push({
        what: `NAT64 TCP ${way}, stateful, flows: ${flows}`,
        value: time(memory, version, flows),
        unit: 'ns',
        note,
      });
    }
  }
  return rows;
}

if (process.argv[1] === import.meta.filename) {
  for (const { what, value, unit } of await run()) console.log(`${what.padEnd(56)} ${value.toFixed(1)} ${unit}`);
}

// Classic BPF for packet sockets (linux/filter.h): take only steered destinations, or nothing at all.
import { addressOf, libcCalls, must, setOption } from './ffi.ts';

const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SO_RCVBUF = 8;
const SOCK_RAW_CLOEXEC = 0o2000003;

const LOAD_WORD = 0x20;
const LOAD_HALF = 0x28;
const LOAD_BYTE = 0x30;
const AND = 0x54;
const JUMP_ALWAYS = 0x05;
const JUMP_EQUAL = 0x15;
const RETURN = 0x06;
const TAKE_ALL = 0xffffffff;
/** The kernel's limit (BPF_MAXINSNS). More prefixes than fit: every IP packet is taken, and the core sorts them. */
const INSTRUCTIONS_MAX = 4096;

export interface SteeredPrefix {
  readonly prefix: Uint8Array;
  readonly bits: number;
  readonly protocols: number;
}
type Instruction = readonly [op: number, isTrue: number, isFalse: number, value: number];

const PROTOCOLS = [
  { bit: 2, protocol: 47 },
  { bit: 4, protocol: 4 },
  { bit: 8, protocol: 41 },
] as const;

/** Ends in "take" when the protocol at `offset` is among `bits`, and runs on otherwise. */
function protocolTest(offset: number, bits: number): Instruction[] {
  if (bits === 15) return [[RETURN, 0, 0, TAKE_ALL]];
  const tests = PROTOCOLS.flatMap(({ bit, protocol }): Instruction[] => [
    [JUMP_EQUAL, 0, 1, protocol],
    [RETURN, 0, 0, (bits & bit) !== 0 ? TAKE_ALL : 0],
  ]);
  return [[LOAD_BYTE, 0, 0, offset], ...tests, [RETURN, 0, 0, (bits & 1) !== 0 ? TAKE_ALL : 0]];
}

/** One prefix: compare word by word, skip to the end of the block at the first difference. */
function block(offset: number, prefix: Uint8Array, bits: number, protocolAt: number, protocols: number): Instruction[] {
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength);
  const tail = protocolTest(protocolAt, protocols);
  const words: Instruction[][] = [];
  for (let at = 0; at * 32 < bits; at++) {
    const left = Math.min(bits - at * 32, 32);
    const mask = left === 32 ? 0xffffffff : ~(0xffffffff >>> left) >>> 0;
    words.push([
      [LOAD_WORD, 0, 0, offset + at * 4],
      [AND, 0, 0, mask],
      [JUMP_EQUAL, 0, 0, (view.getUint32(at * 4) & mask) >>> 0],
    ]);
  }
  const flat = [...words.flat(), ...tail];
  return flat.map((line, at): Instruction => {
    const isCompare = line[0] === JUMP_EQUAL && at < words.length * 3;
    return isCompare ? [JUMP_EQUAL, 0, flat.length - at - 1, line[3]] : line;
  });
}

/** The program for a set of prefixes, longest first: the first match decides, as in the LPM trie of the xdp port. */
export function steeringFilter(prefixes: readonly SteeredPrefix[]): Instruction[] {
  const sorted = prefixes.toSorted((a, b) => b.bits - a.bits);
  const v4 = sorted
    .filter(({ prefix, bits }) => sharesBits(prefix, MAPPED, Math.min(bits, 96)))
    .flatMap(({ prefix, bits, protocols }) => block(30, prefix.subarray(12), Math.max(bits - 96, 0), 23, protocols));
  const v6 = sorted
    .filter(({ prefix, bits }) => bits < 96 || !sharesBits(prefix, MAPPED, 96))
    .flatMap(({ prefix, bits, protocols }) => block(38, prefix, bits, 20, protocols));
  // Conditional jumps reach 255 instructions, so an unconditional one does the distance.
  const code: Instruction[] = [
    [LOAD_HALF, 0, 0, 12],
    [JUMP_EQUAL, 1, 0, 0x0800],
    [JUMP_ALWAYS, 0, 0, v4.length + 1],
    ...v4,
    [RETURN, 0, 0, 0],
    [JUMP_EQUAL, 1, 0, 0x86dd],
    [RETURN, 0, 0, 0],
    ...v6,
    [RETURN, 0, 0, 0],
  ];
  return code.length > INSTRUCTIONS_MAX ? takeIp() : code;
}

const MAPPED = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0);

function sharesBits(a: Uint8Array, b: Uint8Array, bits: number): boolean {
  for (let at = 0; at < bits; at++) {
    if ((((a[at >>> 3] ?? 0) ^ (b[at >>> 3] ?? 0)) & (0x80 >>> (at & 7))) !== 0) return false;
  }
  return true;
}

function takeIp(): Instruction[] {
  return [
    [LOAD_HALF, 0, 0, 12],
    [JUMP_EQUAL, 1, 0, 0x0800],
    [JUMP_EQUAL, 0, 1, 0x86dd],
    [RETURN, 0, 0, TAKE_ALL],
    [RETURN, 0, 0, 0],
  ];
}

export function attachFilter(fd: number, code: readonly Instruction[]): void {
  const program = new DataView(new ArrayBuffer(code.length * 8));
  code.forEach(([op, isTrue, isFalse, value], at) => {
    program.setUint16(at * 8, op, true);
    program.setUint8(at * 8 + 2, isTrue);
    program.setUint8(at * 8 + 3, isFalse);
    program.setUint32(at * 8 + 4, value, true);
  });
  const bytes = new Uint8Array(program.buffer);
  const head = new DataView(new ArrayBuffer(16));
  head.setUint16(0, code.length, true);
  head.setBigUint64(8, addressOf(bytes), true);
  setOption(fd, SOL_SOCKET, SO_ATTACH_FILTER, new Uint8Array(head.buffer), 'SO_ATTACH_FILTER');
  // The kernel copied the program above; naming it here keeps it alive until then.
  if (bytes.byteLength === 0) throw new Error('empty filter');
}

/** Raw sockets that take nothing, but stop the kernel from answering tunnel packets with "protocol unreachable" (P1). */
export function silenceTunnels(): number[] {
  const fds: number[] = [];
  for (const family of [2, 10]) {
    for (const { protocol } of PROTOCOLS) {
      const fd = libcCalls.socket(family, SOCK_RAW_CLOEXEC, protocol);
      // A machine without IPv6 needs no silence there.
      if (fd < 0 && family === 10) continue;
      fds.push(must(`socket for IP protocol ${protocol}`, fd));
      attachFilter(fd, [[RETURN, 0, 0, 0]]);
      setOption(fd, SOL_SOCKET, SO_RCVBUF, 4096, 'SO_RCVBUF');
    }
  }
  return fds;
}

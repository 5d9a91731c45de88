// The steering program in raw BPF and its two maps: frames to a steered destination, or of a steered source to a destination that nobody
// has steered (P41), go to the socket of their queue, all else to the kernel.
// Constants: linux/bpf.h. No compiler and no library is needed; the verifier sees 120 instructions.
import { addressOf, bpf, errno, errnos, libcCalls, must, SystemError, u32 } from './ffi.ts';
import { Steer } from './port.ts';

const COMMAND = { MapCreate: 0, MapUpdate: 2, MapDelete: 3, ProgramLoad: 5, LinkCreate: 28 } as const;
const MAP_LPM_TRIE = 11;
const MAP_XSK = 17;
const MAP_NO_PREALLOC = 1;
const PROGRAM_XDP = 6;
const ATTACH_XDP = 37;
const XDP_PASS = 2;
const HELPER_MAP_LOOKUP = 1;
const HELPER_REDIRECT_MAP = 51;
const ATTRIBUTE_BYTES = 128;
/** BPF_PROG_LOAD gives EAGAIN when a signal is pending in the verifier, for example SIGCHLD of a child that just ended. */
const LOAD_TRIES = 10;

export const STEER_MAX = 65_536;
export const QUEUES_MAX = 64;
export const LINK_FLAG = { native: 4, skb: 2 } as const;

type Line = readonly [op: number, dst: number, src: number, target: number | string, imm: number] | string;

const MOVE_REGISTER = 0xbf;
const MOVE = 0xb7;
const ADD = 0x07;
const AND_REGISTER = 0x5f;
const LOAD_U8 = 0x71;
const LOAD_U16 = 0x69;
const LOAD_U32 = 0x61;
const STORE_U32 = 0x63;
const STORE_U32_VALUE = 0x62;
const STORE_U64_VALUE = 0x7a;
const JUMP_ABOVE = 0x2d;
const JUMP_EQUAL = 0x15;
const JUMP_DIFFERENT = 0x55;
const JUMP = 0x05;
const CALL = 0x85;
const EXIT = 0x95;
const LOAD_MAP = 0x18;

const copyAddress6 = (from: number): Line[] =>
  [0, 4, 8, 12].flatMap((at): Line[] => [
    [LOAD_U32, 4, 2, from + at, 0],
    [STORE_U32, 10, 4, -16 + at, 0],
  ]);

/** r0 becomes the address of the value of the key at r10−20, or 0. */
const lookUp = (steer: number): Line[] => [
  [LOAD_MAP, 1, 1, 0, steer],
  [0, 0, 0, 0, 0],
  [MOVE_REGISTER, 2, 10, 0, 0],
  [ADD, 2, 0, 0, -20],
  [CALL, 0, 0, 0, HELPER_MAP_LOOKUP],
];

/** r2 data, r3 data end; jumps to `v4` with that many bytes, goes on with IPv6, or passes. Checked again after every call, as the verifier asks. */
const headers = (v4: string): Line[] => [
  [LOAD_U32, 2, 6, 0, 0],
  [LOAD_U32, 3, 6, 4, 0],
  [MOVE_REGISTER, 4, 2, 0, 0],
  [ADD, 4, 0, 0, 34],
  [JUMP_ABOVE, 4, 3, 'pass', 0],
  [LOAD_U16, 5, 2, 12, 0],
  [JUMP_EQUAL, 5, 0, v4, 0x0008],
  [JUMP_DIFFERENT, 5, 0, 'pass', 0xdd86],
  [MOVE_REGISTER, 4, 2, 0, 0],
  [ADD, 4, 0, 0, 54],
  [JUMP_ABOVE, 4, 3, 'pass', 0],
];

/** Registers: r6 context, r2 data, r3 data end, r7 protocol; the key {prefix length, address} lies at r10−20. */
function program(steer: number, sockets: number): Line[] {
  return [
    [MOVE_REGISTER, 6, 1, 0, 0],
    ...headers('v4'),
    [LOAD_U8, 7, 2, 20, 0],
    ...copyAddress6(38),
    [JUMP, 0, 0, 'look', 0],
    'v4',
    [LOAD_U8, 7, 2, 23, 0],
    [LOAD_U32, 4, 2, 30, 0],
    [STORE_U32, 10, 4, -4, 0],
    [STORE_U64_VALUE, 10, 0, -16, 0],
    [STORE_U32_VALUE, 10, 0, -8, 0xffff0000 | 0],
    'look',
    [STORE_U32_VALUE, 10, 0, -20, 128],
    ...lookUp(steer),
    [JUMP_EQUAL, 0, 0, 'source', 0],
    [LOAD_U32, 1, 0, 0, 0],
    // Bit of the protocol: 2 GRE, 4 IPIP, 8 IPv6 in IPv4, 1 all others.
    [MOVE, 2, 0, 0, 2],
    [JUMP_EQUAL, 7, 0, 'and', 47],
    [MOVE, 2, 0, 0, 4],
    [JUMP_EQUAL, 7, 0, 'and', 4],
    [MOVE, 2, 0, 0, 8],
    [JUMP_EQUAL, 7, 0, 'and', 41],
    [MOVE, 2, 0, 0, 1],
    'and',
    [AND_REGISTER, 1, 2, 0, 0],
    [JUMP_EQUAL, 1, 0, 'pass', 0],
    [JUMP, 0, 0, 'redirect', 0],
    // The key still says whether its address is a mapped one.
    'source',
    ...headers('source4'),
    ...copyAddress6(22),
    [JUMP, 0, 0, 'lookSource', 0],
    'source4',
    [LOAD_U32, 4, 2, 26, 0],
    [STORE_U32, 10, 4, -4, 0],
    'lookSource',
    ...lookUp(steer),
    [JUMP_EQUAL, 0, 0, 'pass', 0],
    [LOAD_U32, 1, 0, 0, 0],
    [MOVE, 2, 0, 0, Steer.Source],
    [AND_REGISTER, 1, 2, 0, 0],
    [JUMP_EQUAL, 1, 0, 'pass', 0],
    'redirect',
    // Redirect to the socket of this very queue; a queue without a socket passes.
    [LOAD_U32, 2, 6, 16, 0],
    [LOAD_MAP, 1, 1, 0, sockets],
    [0, 0, 0, 0, 0],
    [MOVE, 3, 0, 0, XDP_PASS],
    [CALL, 0, 0, 0, HELPER_REDIRECT_MAP],
    [EXIT, 0, 0, 0, 0],
    'pass',
    [MOVE, 0, 0, 0, XDP_PASS],
    [EXIT, 0, 0, 0, 0],
  ];
}

function assemble(lines: Line[]): Uint8Array {
  const labels = new Map<string, number>();
  const code: Exclude<Line, string>[] = [];
  for (const line of lines) {
    if (typeof line === 'string') labels.set(line, code.length);
    else code.push(line);
  }
  const out = new DataView(new ArrayBuffer(code.length * 8));
  code.forEach(([op, dst, src, target, imm], at) => {
    const offset = typeof target === 'number' ? target : (labels.get(target) ?? 0) - at - 1;
    out.setUint8(at * 8, op);
    out.setUint8(at * 8 + 1, (src << 4) | dst);
    out.setInt16(at * 8 + 2, offset, true);
    out.setInt32(at * 8 + 4, imm, true);
  });
  return new Uint8Array(out.buffer);
}

function attributes(fill: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(ATTRIBUTE_BYTES);
  fill(new DataView(bytes.buffer));
  return bytes;
}

function createMap(type: number, key: number, value: number, entries: number, flags: number): number {
  const words = attributes((view) =>
    [type, key, value, entries, flags].forEach((word, at) => view.setUint32(at * 4, word, true)),
  );
  return must('bpf map create', bpf(COMMAND.MapCreate, words));
}

/** `keep` are the buffers that the attributes point to. */
function mapCall(command: number, map: number, key: Uint8Array, value: Uint8Array | null, ignored: number): void {
  const request = attributes((view) => {
    view.setUint32(0, map, true);
    view.setBigUint64(8, addressOf(key), true);
    if (value !== null) view.setBigUint64(16, addressOf(value), true);
  });
  if (bpf(command, request) < 0 && errno() !== ignored) throw new SystemError('bpf map update', errno());
  // Naming the buffers after the call keeps them alive during it.
  if (key.byteLength + (value?.byteLength ?? 0) === 0) throw new Error('empty key');
}

function load(code: Uint8Array): number {
  const license = new TextEncoder().encode('GPL\0');
  const request = attributes((view) => {
    view.setUint32(0, PROGRAM_XDP, true);
    view.setUint32(4, code.byteLength / 8, true);
    view.setBigUint64(8, addressOf(code), true);
    view.setBigUint64(16, addressOf(license), true);
    view.setUint32(68, ATTACH_XDP, true);
  });
  for (let tries = 1; ; tries++) {
    const fd = bpf(COMMAND.ProgramLoad, request);
    if (fd >= 0) return fd;
    if (errno() !== errnos['EAGAIN'] || tries >= LOAD_TRIES) throw new SystemError('bpf program load', errno());
  }
}

export interface SteeringProgram {
  readonly mode: 'native' | 'skb';
  readonly fds: readonly number[];
  steer(prefix: Uint8Array, bits: number, protocols: number): void;
  unsteer(prefix: Uint8Array, bits: number): void;
  setSocket(queue: number, fd: number): void;
  close(): void;
}

/** Loads the program and attaches it to a device; the link goes away with its descriptor, also when the process is killed. */
export function attachProgram(ifindex: number, modes: readonly ('native' | 'skb')[]): SteeringProgram {
  const fds: number[] = [];
  const close = (): void => fds.splice(0).forEach((fd) => libcCalls.close(fd));
  const keep = (fd: number): number => {
    fds.push(fd);
    return fd;
  };
  try {
    const steer = keep(createMap(MAP_LPM_TRIE, 20, 4, STEER_MAX, MAP_NO_PREALLOC));
    const sockets = keep(createMap(MAP_XSK, 4, 4, QUEUES_MAX, 0));
    const loaded = keep(load(assemble(program(steer, sockets))));
    const attached = attach(loaded, ifindex, modes);
    keep(attached.link);
    return {
      mode: attached.mode,
      fds: [...fds],
      steer: (prefix, bits, protocols) => mapCall(COMMAND.MapUpdate, steer, lpmKey(prefix, bits), u32(protocols), 0),
      unsteer: (prefix, bits) => mapCall(COMMAND.MapDelete, steer, lpmKey(prefix, bits), null, errnos['ENOENT'] ?? 2),
      setSocket: (queue, fd) => mapCall(COMMAND.MapUpdate, sockets, u32(queue), u32(fd), 0),
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

function attach(fd: number, ifindex: number, modes: readonly ('native' | 'skb')[]) {
  const refused: string[] = [];
  for (const mode of modes) {
    const request = attributes((view) =>
      [fd, ifindex, ATTACH_XDP, LINK_FLAG[mode]].forEach((word, at) => view.setUint32(at * 4, word, true)),
    );
    const link = bpf(COMMAND.LinkCreate, request);
    if (link >= 0) return { mode, link };
    refused.push(`${mode}: ${new SystemError('attach', errno()).code}`);
  }
  throw new Error(`the device takes no XDP program (${refused.join(', ')})`);
}

function lpmKey(prefix: Uint8Array, bits: number): Uint8Array {
  if (prefix.length !== 16 || !Number.isInteger(bits) || bits < 0 || bits > 128) {
    throw new Error('a steered prefix has 16 bytes and 0 to 128 bits');
  }
  const key = new Uint8Array(20);
  key.set(u32(bits));
  key.set(prefix, 4);
  return key;
}

// System calls by koffi: the only file that knows it. Calls return the kernel's answer; `must` turns a failure into an Error that names it.
// Linear memory is handed over by absolute address (bigint), small arguments as byte arrays.
import koffi from 'koffi';

export const errnos = koffi.os.errno;

// Node itself is linked to libc, whichever it is.
const libc = process.platform === 'linux' ? koffi.load(null) : null;

function bind<F>(prototype: string): F {
  if (libc !== null) return libc.func(prototype) as unknown as F;
  return (() => {
    throw new Error('kernel ports need Linux; use the memory or pcap port here');
  }) as F;
}

/** bpf(2) has no wrapper in libc; its number differs between architectures. */
const BPF_SYSCALL: Readonly<Record<string, number>> = { x64: 321, arm64: 280 };

export const libcCalls = {
  socket: bind<(domain: number, type: number, protocol: number) => number>('int socket(int d, int t, int p)'),
  close: bind<(fd: number) => number>('int close(int fd)'),
  setsockopt: bind<(fd: number, level: number, option: number, value: Uint8Array, bytes: number) => number>(
    'int setsockopt(int fd, int l, int o, uint8_t *v, uint32_t n)',
  ),
  getsockopt: bind<(fd: number, level: number, option: number, value: Uint8Array, bytes: Uint8Array) => number>(
    'int getsockopt(int fd, int l, int o, uint8_t *v, uint8_t *n)',
  ),
  bind: bind<(fd: number, address: Uint8Array, bytes: number) => number>('int bind(int fd, uint8_t *a, uint32_t n)'),
  mmap: bind<
    (at: bigint, bytes: number, protection: number, flags: number, fd: number, offset: bigint) => number | bigint
  >('int64_t mmap(uintptr_t a, size_t n, int p, int f, int fd, int64_t o)'),
  sendto: bind<
    (
      fd: number,
      data: Uint8Array | null,
      bytes: number,
      flags: number,
      to: Uint8Array | null,
      toBytes: number,
    ) => number
  >('int64_t sendto(int fd, uint8_t *d, size_t n, int f, uint8_t *t, uint32_t tn)'),
  recv: bind<(fd: number, data: Uint8Array | null, bytes: number, flags: number) => number>(
    'int64_t recv(int fd, uint8_t *d, size_t n, int f)',
  ),
  sendmmsg: bind<(fd: number, messages: bigint, count: number, flags: number) => number>(
    'int sendmmsg(int fd, uintptr_t m, uint32_t n, int f)',
  ),
  poll: bind<(fds: Uint8Array, count: number, timeoutMs: number) => number>('int poll(uint8_t *f, uint64_t n, int t)'),
  ioctl: bind<(fd: number, request: number, argument: Uint8Array) => number>(
    'int ioctl(int fd, uint64_t r, uint8_t *a)',
  ),
  open: bind<(path: string, flags: number) => number>('int open(const char *p, int f)'),
  read: bind<(fd: number, data: Uint8Array, bytes: number) => number>('int64_t read(int fd, uint8_t *d, size_t n)'),
  readAt: bind<(fd: number, at: bigint, bytes: number) => number>('int64_t read(int fd, uintptr_t d, size_t n)'),
  writeAt: bind<(fd: number, at: bigint, bytes: number) => number>('int64_t write(int fd, uintptr_t d, size_t n)'),
  setns: bind<(fd: number, type: number) => number>('int setns(int fd, int t)'),
  unshare: bind<(flags: number) => number>('int unshare(int f)'),
  ifNameToIndex: bind<(name: string) => number>('uint32_t if_nametoindex(const char *n)'),
  syscall: bind<(number: number, command: number, argument: Uint8Array, bytes: number) => number>(
    'int64_t syscall(int64_t n, int c, uint8_t *a, uint32_t b)',
  ),
} as const;

export function errno(): number {
  return koffi.errno();
}

export function errnoName(code: number): string {
  return Object.entries(errnos).find(([, value]) => value === code)?.[0] ?? `errno ${code}`;
}

/** A system call that failed, with the name of the call and of the error. */
export class SystemError extends Error {
  readonly code: string;
  constructor(call: string, number: number) {
    super(`${call}: ${errnoName(number)}`);
    this.code = errnoName(number);
  }
}

/** The answer of a call that may not fail. */
export function must(call: string, answer: number): number {
  if (answer < 0) throw new SystemError(call, errno());
  return answer;
}

export function bpf(command: number, attributes: Uint8Array): number {
  const number = BPF_SYSCALL[process.arch];
  if (number === undefined) throw new Error(`no bpf(2) number is known for ${process.arch}: use the packet port`);
  return libcCalls.syscall(number, command, attributes, attributes.byteLength);
}

/** Absolute address of the first byte of a view. It stays valid as long as the view's buffer lives: keep a reference. */
export function addressOf(view: Uint8Array): bigint {
  return BigInt(koffi.address(view));
}

/** Absolute address of a linear memory. */
export function baseOf(memory: { readonly buffer: ArrayBufferLike }): bigint {
  return addressOf(new Uint8Array(memory.buffer));
}

export function setOption(fd: number, level: number, option: number, value: Uint8Array | number, name: string): void {
  const bytes = typeof value === 'number' ? u32(value) : value;
  must(`setsockopt ${name}`, libcCalls.setsockopt(fd, level, option, bytes, bytes.byteLength));
}

/** Like setOption, for options that older kernels do not know. */
export function tryOption(fd: number, level: number, option: number, value: number): boolean {
  return libcCalls.setsockopt(fd, level, option, u32(value), 4) === 0;
}

export function getOption(fd: number, level: number, option: number, bytes: number, name: string): DataView {
  const value = new Uint8Array(bytes);
  must(`getsockopt ${name}`, libcCalls.getsockopt(fd, level, option, value, u32(bytes)));
  return new DataView(value.buffer);
}

export function u32(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

const MAP_FIXED_SHARED_POPULATE = 0x8011;
const MAP_FIXED_PRIVATE_ANONYMOUS = 0x32;
const READ_WRITE = 3;

/** Maps a socket's ring over a page-aligned part of linear memory. */
export function mapOver(at: bigint, bytes: number, fd: number, offset: bigint): void {
  const answer = libcCalls.mmap(at, bytes, READ_WRITE, MAP_FIXED_SHARED_POPULATE, fd, offset);
  if (BigInt(answer) === -1n) throw new SystemError('mmap of a ring', errno());
}

/** Makes a part of linear memory ordinary again. Must happen before the memory is released and before a queue is bound anew. */
export function unmapOver(at: bigint, bytes: number): void {
  const answer = libcCalls.mmap(at, bytes, READ_WRITE, MAP_FIXED_PRIVATE_ANONYMOUS, -1, 0n);
  if (BigInt(answer) === -1n) throw new SystemError('mmap anonymous', errno());
}

const CLONE_NEWNET = 0x40000000;
const O_RDONLY_CLOEXEC = 0o2000000;

/** Runs `body` on this thread inside a network namespace and comes back. Must not await: other code would run there as well. */
export function inNamespace<T>(path: string | undefined, body: () => T): T {
  if (path === undefined) return body();
  const here = must('open /proc/thread-self/ns/net', libcCalls.open('/proc/thread-self/ns/net', O_RDONLY_CLOEXEC));
  try {
    const there = must(`open ${path}`, libcCalls.open(path, O_RDONLY_CLOEXEC));
    const entered = libcCalls.setns(there, CLONE_NEWNET);
    const code = errno();
    libcCalls.close(there);
    if (entered < 0) throw new SystemError(`setns ${path}`, code);
    try {
      return body();
    } finally {
      must('setns back', libcCalls.setns(here, CLONE_NEWNET));
    }
  } finally {
    libcCalls.close(here);
  }
}

/** Moves this thread (and the children it starts) into a new, empty network namespace. */
export function unshareNetwork(): void {
  must('unshare network namespace', libcCalls.unshare(CLONE_NEWNET));
}

/** Calls back on the event loop whenever a descriptor has something to read; does not keep the process alive. */
export function watchReadable(fd: number, callback: () => void): () => void {
  const handle = koffi.node.poll(fd, { readable: true }, callback);
  handle.unref();
  return () => handle.close();
}

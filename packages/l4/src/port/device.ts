// What the kernel knows of a network device, and its offload switches, by ioctl (netdevice(7), linux/ethtool.h).
import { addressOf, errno, libcCalls, must, SystemError } from './ffi.ts';

const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 0o2000002;
const SIOCGIFMTU = 0x8921;
const SIOCSIFMTU = 0x8922;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFHWADDR = 0x8927;
const SIOCETHTOOL = 0x8946;
const IFF_UP = 1;
const NAME_BYTES = 16;
const IFREQ_BYTES = 40;

export interface Device {
  readonly index: number;
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly isUp: boolean;
}

function withSocket<T>(body: (fd: number) => T): T {
  const fd = must('socket', libcCalls.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0));
  try {
    return body(fd);
  } finally {
    libcCalls.close(fd);
  }
}

function request(name: string): Uint8Array {
  const bytes = new TextEncoder().encode(name);
  if (bytes.length === 0 || bytes.length >= NAME_BYTES) throw new Error(`'${name}' is no device name (1 to 15 bytes)`);
  const ifreq = new Uint8Array(IFREQ_BYTES);
  ifreq.set(bytes);
  return ifreq;
}

function ask(fd: number, name: string, command: number, what: string): DataView {
  const ifreq = request(name);
  if (libcCalls.ioctl(fd, command, ifreq) < 0) throw new SystemError(`${what} of device ${name}`, errno());
  return new DataView(ifreq.buffer);
}

/** Reads a device; an Error says so when it does not exist. */
export function readDevice(name: string): Device {
  request(name);
  const index = libcCalls.ifNameToIndex(name);
  if (index === 0) throw new Error(`there is no device '${name}' here: look at "ip link"`);
  return withSocket((fd) => ({
    index,
    mac: new Uint8Array(ask(fd, name, SIOCGIFHWADDR, 'link address').buffer.slice(18, 24)),
    mtu: ask(fd, name, SIOCGIFMTU, 'MTU').getInt32(NAME_BYTES, true),
    isUp: (ask(fd, name, SIOCGIFFLAGS, 'flags').getUint16(NAME_BYTES, true) & IFF_UP) !== 0,
  }));
}

export function setUp(name: string): void {
  withSocket((fd) => {
    const ifreq = request(name);
    const flags = ask(fd, name, SIOCGIFFLAGS, 'flags').getUint16(NAME_BYTES, true) | IFF_UP;
    new DataView(ifreq.buffer).setUint16(NAME_BYTES, flags, true);
    must(`set ${name} up`, libcCalls.ioctl(fd, SIOCSIFFLAGS, ifreq));
  });
}

export function setMtu(name: string, mtu: number): void {
  withSocket((fd) => {
    const ifreq = request(name);
    new DataView(ifreq.buffer).setInt32(NAME_BYTES, mtu, true);
    must(`set MTU ${mtu} on ${name}`, libcCalls.ioctl(fd, SIOCSIFMTU, ifreq));
  });
}

/** Set commands of ethtool. tx-csum off switches TSO off as well; rx-csum is left alone, it changes nothing for us. */
const OFFLOADS = { txChecksum: 0x17, tso: 0x1f, gso: 0x24, gro: 0x2c } as const;
export type Offload = keyof typeof OFFLOADS;
const ALL_OFFLOADS = Object.keys(OFFLOADS) as Offload[];

function ethtool(fd: number, name: string, value: Uint8Array): boolean {
  const ifreq = request(name);
  new DataView(ifreq.buffer).setBigUint64(NAME_BYTES, addressOf(value), true);
  const isDone = libcCalls.ioctl(fd, SIOCETHTOOL, ifreq) >= 0;
  // The pointer inside ifreq is all that the call sees of the value: reading it here keeps it alive until then.
  return isDone && value.byteLength > 0;
}

const GET_CHANNELS = 0x3c;
const SET_CHANNELS = 0x3d;
/** Words of struct ethtool_channels: command, four maxima, then receive, transmit, other, combined. */
const CHANNELS = { words: 9, maxCombined: 4, rx: 5, tx: 6, combined: 8 } as const;

/** Receive queues of a device; 1 where the driver knows no channels. */
export function readQueues(name: string): number {
  return withSocket((fd) => {
    const words = new Uint32Array(CHANNELS.words);
    words[0] = GET_CHANNELS;
    if (!ethtool(fd, name, new Uint8Array(words.buffer))) return 1;
    return Math.max(1, (words[CHANNELS.rx] ?? 0) + (words[CHANNELS.combined] ?? 0));
  });
}

/** Sets the number of queues of a device; false when the driver refuses. */
export function setQueues(name: string, count: number): boolean {
  return withSocket((fd) => {
    const words = new Uint32Array(CHANNELS.words);
    words[0] = GET_CHANNELS;
    if (!ethtool(fd, name, new Uint8Array(words.buffer))) return false;
    words[0] = SET_CHANNELS;
    const isCombined = (words[CHANNELS.maxCombined] ?? 0) > 0;
    words[CHANNELS.rx] = isCombined ? 0 : count;
    words[CHANNELS.tx] = isCombined ? 0 : count;
    words[CHANNELS.combined] = isCombined ? count : 0;
    return ethtool(fd, name, new Uint8Array(words.buffer));
  });
}

/** Switches checksum and segmentation offloads of a device; returns the names that the device refused. */
export function setOffloads(name: string, isOn: boolean, which: readonly Offload[] = ALL_OFFLOADS): string[] {
  return withSocket((fd) => {
    const refused: string[] = [];
    for (const offload of which) {
      const value = new Uint8Array(Uint32Array.of(OFFLOADS[offload], isOn ? 1 : 0).buffer);
      if (!ethtool(fd, name, value)) refused.push(offload);
    }
    return refused;
  });
}

// The tun port: IP packets through /dev/net/tun (Documentation/networking/tuntap.rst), one read or write a packet, straight into linear memory.
// The slowest kind and the only one that works with any device below; also the inside device of endpoints on proxies and servers.
import { setMtu, setUp } from './device.ts';
import { baseOf, errno, errnos, inNamespace, libcCalls, must, SystemError } from './ffi.ts';
import { openCopyRing } from './copy-ring.ts';
import { forgetHoldings, noteHoldings, releaseHoldings } from './holdings.ts';
import type { Port, PortOptions } from './port.ts';
import { describe, openState, PortKind } from './state.ts';

const O_RDWR_NONBLOCK_CLOEXEC = 0o2004002;
const TUNSETIFF = 0x400454ca;
const IFF_TUN_NO_PI = 0x1001;
const IFREQ_BYTES = 40;
const BURST_MAX = 64;
const MTU_DEFAULT = 1500;

export function openTun(options: PortOptions): Port {
  return inNamespace(options.netns, () => open(options));
}

function open(options: PortOptions): Port {
  const { room } = options;
  const mtu = options.mtu ?? MTU_DEFAULT;
  releaseHoldings(room);
  const fd = libcCalls.open('/dev/net/tun', O_RDWR_NONBLOCK_CLOEXEC);
  if (fd < 0) throw new SystemError('open /dev/net/tun (it must be readable and writable for this user)', errno());
  try {
    create(fd, options.device);
    const state = openState(room);
    const ring = openCopyRing(state, room);
    if (mtu > ring.frameBytesMax)
      throw new Error(`MTU ${mtu} is too large for the tun port (${ring.frameBytesMax} at most)`);
    setMtu(options.device, mtu);
    setUp(options.device);
    describe(state, room, { kind: PortKind.Tun, index: options.index, layer: 3, mtu, mac: null });
    const base = baseOf(room.memory);
    noteHoldings(room, [fd]);
    let isClosed = false;
    return {
      kind: 'tun',
      index: options.index,
      device: options.device,
      layer: 3,
      mac: null,
      mtu,
      fd,
      detail: 'tun',
      refused: [],
      pending: () => false,
      fill: () => {
        let count = 0;
        for (let reads = 0; reads < BURST_MAX; reads++) {
          const address = ring.reserve();
          // Without a chunk the packet stays with the kernel, whose queue counts what it drops.
          if (address === 0) break;
          const bytes = libcCalls.readAt(fd, base + BigInt(address), ring.frameBytesMax);
          if (bytes <= 0) break;
          if (bytes > ring.frameBytesMax) {
            ring.refuse('rxTruncated');
            continue;
          }
          ring.commit(bytes);
          count += 1;
        }
        return count;
      },
      kick: () => ring.drain((address, bytes) => libcCalls.writeAt(fd, base + BigInt(address), bytes) === bytes),
      steer: () => {},
      unsteer: () => {},
      statistics: () => state.counters(),
      close: () => {
        if (isClosed) return;
        isClosed = true;
        state.clear();
        forgetHoldings(room);
        libcCalls.close(fd);
      },
    };
  } catch (error) {
    libcCalls.close(fd);
    throw error;
  }
}

function create(fd: number, name: string): void {
  const bytes = new TextEncoder().encode(name);
  if (bytes.length === 0 || bytes.length > 15) throw new Error(`'${name}' is no device name (1 to 15 bytes)`);
  const ifreq = new Uint8Array(IFREQ_BYTES);
  ifreq.set(bytes);
  new DataView(ifreq.buffer).setUint16(16, IFF_TUN_NO_PI, true);
  const answer = libcCalls.ioctl(fd, TUNSETIFF, ifreq);
  if (answer < 0 && errno() === errnos['EBUSY'])
    throw new Error(`device ${name} exists and belongs to another process`);
  must(`create tun device ${name}`, answer);
}

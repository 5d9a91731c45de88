// Sends a frame out of a device of another namespace, byte for byte: what no kernel would send by itself.
import koffi from 'koffi';
import { askIp, within } from '../tools/testkit/index.ts';
import type { Network } from '../tools/testkit/index.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const ADDRESS_BYTES = 20;

export interface RawSocket {
  send(frame: Uint8Array): void;
  close(): void;
}

export function openRawSocket(network: Network, namespace: string, device: string): RawSocket {
  const library = koffi.load(null);
  const socket = library.func('int socket(int, int, int)');
  const sendto = library.func('long sendto(int, void *, ulong, int, void *, uint)');
  const close = library.func('int close(int)');
  const [link] = JSON.parse(askIp(network, namespace, '-j', 'link', 'show', 'dev', device)) as { ifindex: number }[];
  const fd = within(network, namespace, () => socket(AF_PACKET, SOCK_RAW, 0) as number);
  if (fd < 0) throw new Error(`raw socket in ${namespace}: errno ${koffi.errno()}`);
  const address = Buffer.alloc(ADDRESS_BYTES);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeInt32LE(link?.ifindex ?? 0, 4);
  return {
    send(frame) {
      const sent = sendto(fd, Buffer.from(frame), frame.length, 0, address, ADDRESS_BYTES) as number;
      if (sent !== frame.length) throw new Error(`send from ${device}: errno ${koffi.errno()}`);
    },
    close: () => void close(fd),
  };
}

// The socket of flow sync (data-plane.md P9): UDP from the director's own underlay address, to each peer or to a multicast group.
// It is the kernel's: packets of clients never come this way.
import { type Socket, createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';

/** UDP port of flow sync, beside that of the heartbeat. */
export const SYNC_PORT = 48785;
/** Administratively scoped (RFC 2365), and link-local for IPv6. */
export const SYNC_GROUPS = { v4: '239.255.76.66', v6: 'ff12::4c42' } as const;
const MULTICAST_HOPS = 1;
const BUFFER_BYTES = 4 << 20;

export interface SyncSocketOptions {
  /** Our underlay address. */
  readonly address: string;
  readonly isMulticast: boolean;
  onDatagram(bytes: Uint8Array, from: string): void;
}

export interface SyncSocket {
  readonly address: string;
  send(bytes: Uint8Array, to: string): void;
  sendToAll(bytes: Uint8Array): void;
  close(): void;
}

export async function openSyncSocket(options: SyncSocketOptions): Promise<SyncSocket> {
  const { address, isMulticast } = options;
  const isV6 = isIPv6(address);
  const group = isV6 ? SYNC_GROUPS.v6 : SYNC_GROUPS.v4;
  const unicast = await bind(isV6, address, options);
  // Datagrams to a group come to a socket that is bound to the group, not to our address.
  const listener = isMulticast ? await bind(isV6, group, options) : null;
  if (isMulticast) {
    listener?.addMembership(group, isV6 ? undefined : address);
    if (!isV6) unicast.setMulticastInterface(address);
    unicast.setMulticastTTL(MULTICAST_HOPS);
    unicast.setMulticastLoopback(false);
  }
  // A datagram that cannot be sent is one that was lost: the peer will see the gap.
  const send = (bytes: Uint8Array, to: string): void => unicast.send(bytes, SYNC_PORT, to, () => {});
  return {
    address,
    send,
    sendToAll: (bytes) => send(bytes, group),
    close() {
      unicast.close();
      listener?.close();
    },
  };
}

function bind(isV6: boolean, address: string, { onDatagram }: SyncSocketOptions): Promise<Socket> {
  const socket = createSocket({ type: isV6 ? 'udp6' : 'udp4', reuseAddr: true });
  return new Promise((resolve, reject) => {
    socket.once('error', (error) => {
      socket.close();
      reject(error);
    });
    socket.bind(SYNC_PORT, address, () => {
      socket.removeAllListeners('error');
      socket.on('error', () => {});
      socket.on('message', (bytes, from) => onDatagram(bytes, from.address));
      try {
        socket.setRecvBufferSize(BUFFER_BYTES);
      } catch {
        // The kernel's own size then; what does not fit is a gap.
      }
      resolve(socket);
    });
  });
}

// accept: a client connection is matched with its listener and given what every request of it will carry.
import type net from 'node:net';
import type { CompiledListener } from '../image.ts';

/** vip:vport with the listener that the newest image has for it. Connections keep the binding, images change what it holds. */
export interface Binding {
  readonly port: number;
  listener: CompiledListener | null;
}

export interface Accepted {
  readonly binding: Binding;
  readonly vip: string;
  readonly vport: number;
  readonly clientAddress: string;
  readonly clientPort: number;
}

const ANY = ['0.0.0.0', '::'] as const;

/** Null: the address is no VIP of this port, and nobody is told that anything listens here (P20). */
export function accept(socket: net.Socket, bindings: ReadonlyMap<string, Binding>): Accepted | null {
  const vip = plainAddress(socket.localAddress);
  const clientAddress = plainAddress(socket.remoteAddress);
  // Both are undefined when the client has gone again already.
  if (vip === '' || clientAddress === '') return null;
  const binding = bindings.get(vip) ?? bindings.get(vip.includes(':') ? ANY[1] : ANY[0]);
  if (binding === undefined || binding.listener === null) return null;
  return { binding, vip, vport: socket.localPort ?? 0, clientAddress, clientPort: socket.remotePort ?? 0 };
}

/** IPv4 in IPv6 and zones are the kernel's way of writing, not ours. */
function plainAddress(address: string | undefined): string {
  if (address === undefined) return '';
  if (address.startsWith('::ffff:') && address.includes('.')) return address.slice(7);
  const zone = address.indexOf('%');
  return zone < 0 ? address : address.slice(0, zone);
}

/** The lines that tell a target who the client is (E5). They are set by us alone; what the client sends is removed. */
export function identityFields(clientAddress: string, scheme: 'http' | 'https'): string {
  return `X-Real-IP: ${clientAddress}\r\nX-Client-Proto: ${scheme}\r\nX-Forwarded-Proto: ${scheme}\r\n`;
}

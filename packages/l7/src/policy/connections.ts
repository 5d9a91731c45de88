// Connections before anything of them is read: how many a listener and a client may have, and who they come from when a trusted
// proxy in front says so (haproxy.org proxy-protocol.txt, versions 1 and 2).
import net from 'node:net';
import type { CompiledListener } from '../image.ts';
import type { Accepted } from '../phase/accept.ts';
import type { SharedCounts } from '../scale/shared.ts';

/** Longest header of version 1, CRLF included. */
const VERSION_1_BYTES_MAX = 107;
/** Version 2 with the type-length-values that other balancers add. */
const VERSION_2_BYTES_MAX = 2048;
const HEADER_TIMEOUT_MS = 5_000;
const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const LOCAL = 0x20;
const PROXY = 0x21;

export interface ProxySource {
  /** Offset behind the header. */
  readonly end: number;
  /** Null: the sender speaks for itself. */
  readonly client: { readonly address: string; readonly port: number } | null;
}

/** One header at the start of `bytes`; `more` when it is not complete, `bad` when it is none. */
export function parseProxyHeader(bytes: Buffer): ProxySource | 'more' | 'bad' {
  const seen = Math.min(bytes.length, SIGNATURE.length);
  if (bytes.subarray(0, seen).equals(SIGNATURE.subarray(0, seen))) {
    return bytes.length < 16 ? 'more' : parseVersion2(bytes);
  }
  const start = bytes.toString('latin1', 0, Math.min(bytes.length, 6));
  if (!'PROXY '.startsWith(start)) return 'bad';
  const end = bytes.subarray(0, VERSION_1_BYTES_MAX).indexOf('\r\n');
  if (end < 0) return bytes.length >= VERSION_1_BYTES_MAX ? 'bad' : 'more';
  const line = bytes.toString('latin1', 0, end);
  if (line === 'PROXY UNKNOWN' || line.startsWith('PROXY UNKNOWN ')) return { end: end + 2, client: null };
  const match = /^PROXY TCP([46]) (\S+) (\S+) (\d{1,5}) (\d{1,5})$/.exec(line);
  if (match === null) return 'bad';
  const [, family, source = '', destination = '', port] = match;
  const isFamily = family === '6' ? net.isIPv6 : net.isIPv4;
  if (!isFamily(source) || !isFamily(destination) || source.includes('%') || Number(port) > 65_535) return 'bad';
  return { end: end + 2, client: { address: source.toLowerCase(), port: Number(port) } };
}

function parseVersion2(bytes: Buffer): ProxySource | 'more' | 'bad' {
  const command = bytes[12]!;
  const end = 16 + bytes.readUInt16BE(14);
  if ((command !== LOCAL && command !== PROXY) || end > VERSION_2_BYTES_MAX) return 'bad';
  if (bytes.length < end) return 'more';
  if (command === LOCAL) return { end, client: null };
  switch (bytes[13]) {
    case 0x11:
      if (end < 16 + 12) return 'bad';
      return { end, client: { address: [...bytes.subarray(16, 20)].join('.'), port: bytes.readUInt16BE(24) } };
    case 0x21: {
      if (end < 16 + 36) return 'bad';
      const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(16 + index * 2).toString(16));
      const address = new net.SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address;
      return { end, client: { address, port: bytes.readUInt16BE(48) } };
    }
    default:
      return { end, client: null };
  }
}

/** Waits for the header that a trusted sender begins with, and puts back what stands behind it. */
function readProxyHeader(socket: net.Socket, done: (source: ProxySource | null) => void): void {
  let seen: Buffer = Buffer.alloc(0);
  const finish = (source: ProxySource | null): void => {
    clearTimeout(timer);
    socket.off('data', onData);
    socket.off('close', onGone);
    socket.off('end', onGone);
    socket.pause();
    if (source !== null && source.end < seen.length) socket.unshift(seen.subarray(source.end));
    done(source);
    socket.off('error', onError);
  };
  const onGone = (): void => finish(null);
  const onError = (): void => {};
  const onData = (chunk: Buffer): void => {
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    const parsed = parseProxyHeader(seen);
    if (parsed !== 'more') finish(parsed === 'bad' ? null : parsed);
  };
  const timer = setTimeout(onGone, HEADER_TIMEOUT_MS);
  socket.on('error', onError);
  socket.on('data', onData);
  socket.once('close', onGone);
  socket.once('end', onGone);
}

interface Count {
  open: number;
  readonly byClient: Map<string, number>;
}

/** Open connections by listener id. They outlive images, so what is open stays counted. */
export class ConnectionLimits {
  readonly #counts = new Map<string, Count>();
  readonly #refused: (reason: string) => void;
  /** Of a proxy with workers: what all of them have open. */
  readonly #shared: SharedCounts | null;

  constructor(refused: (reason: string) => void, shared: SharedCounts | null) {
    this.#refused = refused;
    this.#shared = shared;
  }

  /** Calls `admitted` now or once the client is known; a refused connection is closed and counted. */
  admit(socket: net.Socket, accepted: Accepted, admitted: (accepted: Accepted) => void): void {
    const policy = accepted.binding.listener!.policy;
    if (policy === null) return admitted(accepted);
    if (policy.proxyFrom?.has(accepted.clientAddress) !== true) {
      if (this.#count(socket, accepted)) admitted(accepted);
      return;
    }
    readProxyHeader(socket, (source) => {
      if (source === null || accepted.binding.listener === null) {
        this.#refuse(socket, 'proxy-header-bad');
        return;
      }
      const { client } = source;
      const behind =
        client === null ? accepted : { ...accepted, clientAddress: client.address, clientPort: client.port };
      if (!this.#count(socket, behind)) return;
      const isRelay = accepted.binding.listener.protocol === 'tcp';
      admitted(behind);
      // A relay reads when its target is there, and not before.
      if (!isRelay) socket.resume();
    });
  }

  #count(socket: net.Socket, { binding, clientAddress }: Accepted): boolean {
    const { id, policy } = binding.listener!;
    const { connectionsMax, connectionsPerClientMax } = policy!;
    if (connectionsMax === Infinity && connectionsPerClientMax === Infinity) return true;
    if (this.#shared !== null) return this.#countShared(this.#shared, socket, binding.listener!, clientAddress);
    let count = this.#counts.get(id);
    if (count === undefined) this.#counts.set(id, (count = { open: 0, byClient: new Map() }));
    const own = count.byClient.get(clientAddress) ?? 0;
    if (count.open >= connectionsMax || own >= connectionsPerClientMax) {
      return this.#refuse(socket, count.open >= connectionsMax ? 'listener-full' : 'client-full');
    }
    count.open++;
    count.byClient.set(clientAddress, own + 1);
    socket.once('close', () => {
      if (--count.open === 0) this.#counts.delete(id);
      const left = count.byClient.get(clientAddress)! - 1;
      if (left === 0) count.byClient.delete(clientAddress);
      else count.byClient.set(clientAddress, left);
    });
    return true;
  }

  #countShared(counts: SharedCounts, socket: net.Socket, { id, policy }: CompiledListener, client: string): boolean {
    const own = `${id} ${client}`;
    if (!counts.enter(id, policy!.connectionsMax)) return this.#refuse(socket, 'listener-full');
    if (!counts.enter(own, policy!.connectionsPerClientMax)) {
      counts.leave(id);
      return this.#refuse(socket, 'client-full');
    }
    socket.once('close', () => {
      counts.leave(id);
      counts.leave(own);
    });
    return true;
  }

  #refuse(socket: net.Socket, reason: string): false {
    this.#refused(reason);
    socket.on('error', () => {});
    socket.destroy();
    return false;
  }
}

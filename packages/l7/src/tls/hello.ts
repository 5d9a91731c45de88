// The server name of a ClientHello (RFC 8446 4.1.2, RFC 6066 3), read before the handshake, so that the whole context of a name is
// chosen at once: node:tls can add one certificate by its SNI callback, not change key types, stapling or what clients must prove.
import type net from 'node:net';

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const RECORD_HEAD_BYTES = 5;
const RECORD_BYTES_MAX = 16 * 1024 + 2048;
/** A ClientHello with post-quantum keys has some 2 KiB. */
export const HELLO_BYTES_MAX = 32 * 1024;
const NAME = /^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?\.?$/;

/** The name, lower case; empty when there is none or the bytes are no hello (OpenSSL says what is wrong); null: not all of it has come. */
export function serverNameOf(bytes: Buffer): string | null {
  const hello = helloOf(bytes);
  if (hello === null) return null;
  try {
    return nameIn(hello);
  } catch {
    return '';
  }
}

/** Body of the first handshake message, joined from its records; empty when it is no ClientHello; null when it is not complete. */
function helloOf(bytes: Buffer): Buffer | null {
  const parts: Buffer[] = [];
  let length = 0;
  let at = 0;
  for (;;) {
    if (bytes.length - at < RECORD_HEAD_BYTES) return null;
    const size = bytes.readUInt16BE(at + 3);
    if (bytes[at] !== HANDSHAKE || size === 0 || size > RECORD_BYTES_MAX) return Buffer.alloc(0);
    at += RECORD_HEAD_BYTES;
    const part = bytes.subarray(at, at + size);
    parts.push(part);
    length += part.length;
    at += size;
    if (length >= 4) {
      const all = parts.length === 1 ? part : Buffer.concat(parts);
      if (all[0] !== CLIENT_HELLO) return Buffer.alloc(0);
      const wanted = all.readUIntBE(1, 3);
      if (wanted > HELLO_BYTES_MAX) return Buffer.alloc(0);
      if (length >= 4 + wanted) return all.subarray(4, 4 + wanted);
    }
    if (part.length < size) return null;
  }
}

/** Throws a RangeError where a length points behind the end. */
function nameIn(hello: Buffer): string {
  let at = 2 + 32;
  at += 1 + hello.readUInt8(at);
  at += 2 + hello.readUInt16BE(at);
  at += 1 + hello.readUInt8(at);
  if (at === hello.length) return '';
  const end = at + 2 + hello.readUInt16BE(at);
  if (end !== hello.length) return '';
  for (at += 2; at < end;) {
    const type = hello.readUInt16BE(at);
    const size = hello.readUInt16BE(at + 2);
    if (type === SERVER_NAME) {
      // One list with one host name is all that clients send.
      const length = hello.readUInt16BE(at + 7);
      if (hello[at + 6] !== 0 || length + 5 !== size) return '';
      const name = hello.toString('latin1', at + 9, at + 9 + length);
      return NAME.test(name) ? name.toLowerCase() : '';
    }
    at += 4 + size;
  }
  return '';
}

/** Reads until the hello is whole and puts its bytes back. Rejects when the client goes before. */
export function readServerName(socket: net.Socket): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let seen: Buffer = Buffer.alloc(0);
  const onGone = (): void => settle(() => reject(new Error('gone before the hello')));
  const settle = (act: () => void): void => {
    socket.off('readable', onReadable);
    socket.off('close', onGone);
    socket.off('end', onGone);
    act();
  };
  const onReadable = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    const name = seen.length > HELLO_BYTES_MAX ? '' : serverNameOf(seen);
    if (name === null) return;
    settle(() => {
      socket.unshift(seen);
      resolve(name);
    });
  };
  socket.on('readable', onReadable);
  socket.once('close', onGone);
  socket.once('end', onGone);
  if (socket.readableLength > 0) onReadable();
  return promise;
}

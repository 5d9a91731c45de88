// tcp.wasm as text, when running from source; the build puts dist/embedded-tcp.js in its place, which needs no file system.
import { readFileSync } from 'node:fs';

export function tcpBase64(): string {
  return readFileSync(new URL('../dist/tcp.wasm', import.meta.url)).toString('base64');
}

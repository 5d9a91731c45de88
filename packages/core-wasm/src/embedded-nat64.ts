// nat64.wasm as text, when running from source; the build puts dist/embedded-nat64.js in its place, which needs no file system.
import { readFileSync } from 'node:fs';

export function nat64Base64(): string {
  return readFileSync(new URL('../dist/nat64.wasm', import.meta.url)).toString('base64');
}

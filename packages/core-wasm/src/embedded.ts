// The plain core as text, when running from source; the build puts dist/embedded.js in its place, which needs no file system.
import { readFileSync } from 'node:fs';

export function coreBase64(): string {
  return readFileSync(new URL('../dist/core.wasm', import.meta.url)).toString('base64');
}

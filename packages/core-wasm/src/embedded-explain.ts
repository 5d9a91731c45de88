// The tracing core on plain memory as text, when running from source; the build puts dist/embedded-explain.js in its place.
import { readFileSync } from 'node:fs';

export function explainBase64(): string {
  return readFileSync(new URL('../dist/core.check.wasm', import.meta.url)).toString('base64');
}

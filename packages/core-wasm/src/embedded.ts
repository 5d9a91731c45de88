// The plain core as text, when running from source; the build puts dist/embedded.js in its place, which needs no file system.
import { readFileSync } from 'node:fs';

export const coreBase64: string = readFileSync(new URL('../dist/core.wasm', import.meta.url)).toString('base64');

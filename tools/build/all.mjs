// Builds every package through turbo, which does only what has changed, and says nothing unless it fails or takes long.
// The commands that a newcomer types begin with it, and their own words should be the first to be read.
import { spawn } from 'node:child_process';
import process from 'node:process';

const TELL_AFTER_MS = 2000;

const turbo = spawn('turbo', ['run', 'build', '--output-logs=errors-only', ...process.argv.slice(2)], {
  stdio: ['ignore', 'pipe', 'pipe'],
});
const said = [];
turbo.stdout.on('data', (chunk) => said.push(chunk));
turbo.stderr.on('data', (chunk) => said.push(chunk));
const patience = setTimeout(() => process.stderr.write('building the packages …\n'), TELL_AFTER_MS);
turbo.on('error', (error) => {
  process.stderr.write(`turbo does not start (${error.message}): run npm ci, and start this with npm run\n`);
  process.exit(1);
});
turbo.on('close', (status, signal) => {
  clearTimeout(patience);
  if (status !== 0 && signal === null) process.stderr.write(Buffer.concat(said));
  process.exit(status ?? 130);
});

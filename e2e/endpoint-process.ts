// An endpoint in a namespace of its own, with an image from a file and no controller; a line on stdin prints its counters.
// usage: node endpoint-process.ts ID DEVICE IMAGE.json [tun|veth]
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { startEndpoint } from '@openclb/l4';

const [id = '', device = '', file = '', inside = 'auto'] = process.argv.slice(2);
const say = (level: string) => (data: object, message: string) => console.error(level, message, JSON.stringify(data));
const endpoint = await startEndpoint({
  id,
  device,
  port: 'packet',
  inside: inside as 'auto' | 'tun' | 'veth',
  image: JSON.parse(readFileSync(file, 'utf8')),
  flows: 4096,
  rows: 1024,
  log: { debug() {}, info: say('info'), warn: say('warn'), error: say('error') },
});
// On stderr, which is the log that the starter reads; stdout carries answers.
console.error(`ready: ${id} by ${endpoint.portInfo.detail}`);
createInterface({ input: process.stdin }).on('line', () => console.log(JSON.stringify(endpoint.counters())));
process.on('SIGTERM', () => void endpoint.close().then(() => process.exit(0)));

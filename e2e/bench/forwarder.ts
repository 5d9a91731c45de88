// A director of forwarding.bench.ts in a namespace of its own, with an image from a file and no controller.
// usage: node forwarder.ts DEVICE PORT IMAGE.json
import { readFileSync } from 'node:fs';
import { silentLog, startDirector } from '@openclb/l4';

const [device = '', port = '', file = ''] = process.argv.slice(2);
const director = await startDirector({
  id: 'bench',
  device,
  port: port as 'xdp' | 'packet',
  flows: 65_536,
  image: JSON.parse(readFileSync(file, 'utf8')),
  log: silentLog,
}).catch((error: unknown) => {
  // One line: it becomes a note of the table.
  console.error(String(error));
  process.exit(1);
});
console.log(`ready: ${director.portInfo.detail}`);
process.on('SIGTERM', () => void director.close().then(() => process.exit(0)));

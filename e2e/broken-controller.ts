// Stands where the controller stood and sends every node images that must be refused; what the nodes answer goes to stdout.
// usage: node broken-controller.ts PORT
import { createServer } from 'node:http';

const FUTURE = 1_000_000_000;

/** One image that is not an image at all, one with an unknown field, one with a hash that does not fit. */
const BROKEN = [
  { role: 'director', generation: { revision: FUTURE, compiler: 1 }, listeners: 'all of them' },
  {
    role: 'director',
    generation: { revision: FUTURE + 1, compiler: 1 },
    self: { id: 'ld1', ordinal: 1, underlay: { v4: '10.255.0.1' } },
    tunnels: [],
    anycast: {},
    probe: {},
    vips: [],
    listeners: [],
    groups: [],
    targets: [],
    hosts: [],
    eips: [],
    trusted: [],
    field_of_the_future: true,
  },
];

const server = createServer((request, response) => {
  const node = /^\/link\/v1\/nodes\/([^/]+)\/(stream|messages)/.exec(request.url ?? '');
  if (node?.[2] === 'stream') {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    for (const image of BROKEN)
      response.write(`${JSON.stringify({ version: 1, type: 'image', hash: '0'.repeat(64), image })}\n`);
    return;
  }
  let body = '';
  request.on('data', (chunk: Buffer) => (body += chunk.toString()));
  request.on('end', () => {
    console.log(`message ${node?.[1]} ${body}`);
    response.writeHead(204).end();
  });
});
server.listen(Number(process.argv[2]), '0.0.0.0', () => console.log('ready: a controller that sends broken images'));

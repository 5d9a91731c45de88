// The node's end of the link against a real HTTP server on loopback: order of images, refusals, the disk, lost controllers.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type Server, type ServerResponse, createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EndpointImage, type FromNode, type ToNode } from '@openclb/model';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { cachePath, imageHash } from './image-cache.ts';
import { type Link, type LinkOptions, connectLink } from './link.ts';

let stateDir: string;
let controller: TestController;
let link: Link | undefined;
let applied: number[];

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'clb-link-'));
  controller = await startController();
  applied = [];
});

afterEach(async () => {
  await link?.close();
  link = undefined;
  await controller.stop();
  rmSync(stateDir, { recursive: true });
});

interface TestController {
  readonly url: string;
  readonly received: FromNode[];
  readonly authorizations: string[];
  sendLine(line: string): void;
  send(message: ToNode): void;
  stop(): Promise<void>;
}

async function startController(port = 0): Promise<TestController> {
  const received: FromNode[] = [];
  const authorizations: string[] = [];
  let stream: ServerResponse | undefined;
  const server: Server = createServer((request, response) => {
    authorizations.push(String(request.headers.authorization));
    if (request.method === 'GET') {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      response.flushHeaders();
      stream = response;
      return;
    }
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      received.push(JSON.parse(body) as FromNode);
      response.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const sendLine = (line: string): void => void stream?.write(`${line}\n`);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    authorizations,
    sendLine,
    send: (message) => sendLine(JSON.stringify(message)),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function image(revision: number, compiler = 1, trusted: string[] = []): EndpointImage {
  const generation = { revision, compiler };
  const empty = {
    tunnels: [],
    vms: [],
    physical: [],
    map: [],
    registered: [],
    internalVips: [],
    sources: [],
    localVips: [],
  };
  return {
    role: 'endpoint',
    generation,
    self: { id: 'host1', underlay: { v4: '10.255.0.11' } },
    anycast: {},
    trusted,
    ...empty,
  };
}

function imageMessage(value: EndpointImage): ToNode {
  return { version: 1, type: 'image', hash: imageHash(value), image: value };
}

async function connect(more: Partial<LinkOptions> = {}): Promise<Link> {
  link = await connectLink({
    url: controller.url,
    token: 'join-me',
    node: 'host1',
    role: 'endpoint',
    stateDir,
    onImage: async (value) => void applied.push(value.generation.revision),
    describe: () => ({ port: 'memory' }),
    ...more,
  });
  return link;
}

const messages = <T extends FromNode['type']>(type: T) =>
  controller.received.filter((message): message is Extract<FromNode, { type: T }> => message.type === type);

test('a node says alive with its port, applies an image and acknowledges it', async () => {
  await connect();
  await vi.waitFor(() => expect(messages('alive')[0]).toMatchObject({ port: 'memory', applied: null, hash: null }));
  expect(controller.authorizations.every((value) => value === 'Bearer join-me')).toBe(true);
  controller.send(imageMessage(image(7)));
  await vi.waitFor(() => expect(messages('applied')).toHaveLength(1));
  expect(messages('applied')[0]).toMatchObject({ generation: { revision: 7, compiler: 1 }, hash: imageHash(image(7)) });
  expect(JSON.parse(readFileSync(cachePath(stateDir, 'host1'), 'utf8')).image).toEqual(image(7));
});

test('an older image and another image of the same generation are refused with the reason', async () => {
  await connect();
  await vi.waitFor(() => expect(link!.connected).toBe(true));
  controller.send(imageMessage(image(7)));
  await vi.waitFor(() => expect(messages('applied')).toHaveLength(1));
  controller.send(imageMessage(image(6, 9)));
  await vi.waitFor(() => expect(messages('refused')).toHaveLength(1));
  controller.send(imageMessage(image(7, 1, ['192.0.2.1'])));
  await vi.waitFor(() => expect(messages('refused')).toHaveLength(2));
  expect(messages('refused').map((message) => message.reason)).toEqual([
    expect.stringContaining('6.9 is older than the applied 7.1'),
    expect.stringContaining('two controllers compile differently'),
  ]);
  expect(applied).toEqual([7]);
  controller.send(imageMessage(image(7, 2)));
  await vi.waitFor(() => expect(messages('applied')).toHaveLength(2));
  expect(applied).toEqual([7, 7]);
});

test('an unknown field, a wrong hash, a wrong role and a newer link version are refused and the last image keeps serving', async () => {
  await connect();
  await vi.waitFor(() => expect(link!.connected).toBe(true));
  controller.send(imageMessage(image(7)));
  await vi.waitFor(() => expect(messages('applied')).toHaveLength(1));
  controller.sendLine(JSON.stringify({ ...imageMessage(image(8)), image: { ...image(8), colour: 'red' } }));
  controller.sendLine(JSON.stringify({ ...imageMessage(image(8)), hash: 'ab'.repeat(32) }));
  controller.sendLine(JSON.stringify({ ...imageMessage(image(8)), version: 2 }));
  controller.sendLine('{"not json');
  controller.sendLine('[]');
  await vi.waitFor(() => expect(messages('refused')).toHaveLength(3));
  expect(messages('refused').map((message) => message.reason)).toEqual([
    expect.stringContaining('colour'),
    expect.stringContaining('hashes to'),
    expect.stringContaining('upgrade this node'),
  ]);
  expect(messages('refused').every((message) => message.generation.revision === 8)).toBe(true);
  controller.send(imageMessage(image(9)));
  await vi.waitFor(() => expect(applied).toEqual([7, 9]));
});

test('an image that the data path refuses leaves the last one on disk', async () => {
  await connect({
    onImage: async (value) => {
      if (value.generation.revision === 8) throw new Error('no room for 70000 listeners');
      applied.push(value.generation.revision);
    },
  });
  await vi.waitFor(() => expect(link!.connected).toBe(true));
  controller.send(imageMessage(image(7)));
  await vi.waitFor(() => expect(messages('applied')).toHaveLength(1));
  controller.send(imageMessage(image(8)));
  await vi.waitFor(() => expect(messages('refused')).toHaveLength(1));
  expect(messages('refused')[0]!.reason).toBe('no room for 70000 listeners');
  expect(link!.applied!.generation.revision).toBe(7);
  expect(JSON.parse(readFileSync(cachePath(stateDir, 'host1'), 'utf8')).image.generation.revision).toBe(7);
});

test('while one image is being applied only the newest of those that follow is taken', async () => {
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => (release = resolve));
  let fenced = false;
  await connect({
    onCounters: () => ((fenced = true), {}),
    onImage: async (value) => {
      applied.push(value.generation.revision);
      if (value.generation.revision === 1) await gate;
    },
  });
  await vi.waitFor(() => expect(link!.connected).toBe(true));
  controller.send(imageMessage(image(1)));
  await vi.waitFor(() => expect(applied).toEqual([1]));
  for (const revision of [2, 3, 5, 4]) controller.send(imageMessage(image(revision)));
  controller.send({ version: 1, type: 'counters', request: 'fence' });
  await vi.waitFor(() => expect(fenced).toBe(true));
  release();
  await vi.waitFor(() => expect(applied).toEqual([1, 5]));
});

test('without a controller a node serves the image on disk, and finds the controller when it comes back', async () => {
  await connect();
  await vi.waitFor(() => expect(link!.connected).toBe(true));
  controller.send(imageMessage(image(7)));
  await vi.waitFor(() => expect(messages('applied')).toHaveLength(1));
  const port = Number(new URL(controller.url).port);
  await controller.stop();
  await link!.close();
  applied = [];
  await connect();
  expect(applied).toEqual([7]);
  expect(link!.connected).toBe(false);
  controller = await startController(port);
  await vi.waitFor(() => expect(messages('alive')[0]).toMatchObject({ applied: { revision: 7 } }), { timeout: 5_000 });
  controller.send(imageMessage(image(8)));
  await vi.waitFor(() => expect(applied).toEqual([7, 8]));
});

test('a damaged image on disk is not used', async () => {
  for (const text of ['{', '{}', JSON.stringify({ hash: 'x', image: image(7) })]) {
    writeFileSync(cachePath(stateDir, 'host1'), text);
    await connect();
    expect(applied).toEqual([]);
    await link!.close();
  }
});

test('explain and counters are answered under the number of their request', async () => {
  const answer = { node: 'host1', generation: { revision: 1, compiler: 1 }, verdict: 'forward', reason: '', steps: [] };
  await connect({ onExplain: () => answer, onCounters: () => ({ received: 3 }) });
  await vi.waitFor(() => expect(link!.connected).toBe(true));
  const query = {
    protocol: 'tcp',
    source: '198.51.100.1',
    sourcePort: 1,
    destination: '203.0.113.10',
    destinationPort: 80,
  } as const;
  controller.send({ version: 1, type: 'explain', request: 'a', query });
  controller.send({ version: 1, type: 'counters', request: 'b' });
  await vi.waitFor(() =>
    expect(controller.received).toContainEqual({ version: 1, type: 'explained', request: 'a', answer }),
  );
  await vi.waitFor(() =>
    expect(controller.received).toContainEqual({
      version: 1,
      type: 'counted',
      request: 'b',
      counters: { received: 3 },
    }),
  );
});

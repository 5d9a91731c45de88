// Compression on the wire (tencent-cloud.md E5): codings, what is left alone, streaming, back-pressure, aborts.
import { randomBytes } from 'node:crypto';
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib';
import type { Compression } from '@openclb/model';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createProxy } from '../src/index.ts';
import { imageOf } from '../src/simple.ts';
import { bodyOf, connect, get, type Origin, origin, type Peer, sleep } from './kit.ts';

const TEXT = 'all work and no play '.repeat(200);

async function serve(
  target: Origin,
  compression: Compression = { mode: 'compatibility' },
): Promise<() => Promise<Peer>> {
  const proxy = await createProxy({ bind: 'vips', limits: { drainMs: 50, lingerMs: 300 } });
  onTestFinished(() => proxy.close());
  const image = await imageOf({ listen: 0, targets: [target.url] });
  image.listeners[0]!.rules[0]!.policy = { compression };
  await proxy.apply(image);
  const { port } = proxy.addresses()[0]!;
  return () => connect(port);
}

const answer = (fields: string, body = TEXT): Promise<Origin> =>
  origin((_, peer) => void peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${fields}\r\n${body}`));

/** Head and decoded chunks of one response. */
async function ask(open: () => Promise<Peer>, request: string): Promise<{ head: string; body: Buffer }> {
  const peer = await open();
  peer.write(request);
  await peer.has('\r\n\r\n');
  const isChunked = /transfer-encoding: chunked/i.test(peer.text);
  if (isChunked) await peer.has(/\r\n0\r\n\r\n$/);
  else await peer.has(/\r\n\r\n[^]*$/);
  await sleep(10);
  const head = peer.text.slice(0, peer.text.indexOf('\r\n\r\n') + 4);
  return { head, body: isChunked ? unchunk(bodyOf(peer.text)) : Buffer.from(bodyOf(peer.text), 'latin1') };
}

function unchunk(text: string): Buffer {
  let body = '';
  for (let at = 0; ;) {
    const line = text.indexOf('\r\n', at);
    const size = Number.parseInt(text.slice(at, line), 16);
    if (!(size > 0)) return Buffer.from(body, 'latin1');
    body += text.slice(line + 2, line + 2 + size);
    at = line + 4 + size;
  }
}

const accepting = (codings: string, fields = ''): string => get('/', `Accept-Encoding: ${codings}\r\n${fields}`);
const HTML = 'Content-Type: text/html; charset=utf-8\r\nETag: "a"\r\nAccept-Ranges: bytes\r\n';

test.each([
  ['gzip', 'gzip', gunzipSync],
  ['gzip, br', 'br', brotliDecompressSync],
  ['gzip, zstd, br', 'zstd', zstdDecompressSync],
  ['zstd;q=0.1, gzip;q=0.5, br;q=0', 'gzip', gunzipSync],
  ['*', 'zstd', zstdDecompressSync],
] as const)('accepting %s gets %s', async (accepted, coding, decode) => {
  const { head, body } = await ask(await serve(await answer(HTML)), accepting(accepted));
  expect(head).toContain(`Content-Encoding: ${coding}\r\n`);
  expect(head).toContain('Vary: Accept-Encoding\r\n');
  expect(head).toContain('ETag: W/"a"\r\n');
  expect(head).not.toMatch(/content-length|accept-ranges/i);
  expect(decode(body).toString()).toBe(TEXT);
  expect(body.length).toBeLessThan(TEXT.length / 4);
});

describe('left alone', () => {
  test.each([
    ['a client that accepts none', HTML, 'identity', true],
    ['a client that refuses', HTML, 'gzip;q=0', true],
    ['a body with a coding', `${HTML}Content-Encoding: x\r\n`, 'gzip', false],
    ['a type that is not listed', 'Content-Type: image/png\r\n', 'gzip', false],
    ['a response without a type', '', 'gzip', false],
    ['no-transform', `${HTML}Cache-Control: private, no-transform\r\n`, 'gzip', false],
    ['a range', `${HTML}Content-Range: bytes 0-9/20\r\n`, 'gzip', false],
  ] as const)('%s', async (_, fields, accepted, varies) => {
    const { head, body } = await ask(await serve(await answer(fields)), accepting(accepted));
    expect(head).toContain(`Content-Length: ${TEXT.length}\r\n${fields}`);
    expect(/^Vary: Accept-Encoding\r$/m.test(head)).toBe(varies);
    expect(body.toString()).toBe(TEXT);
  });

  test('everything in transparent mode, and what is short', async () => {
    const plain = await ask(await serve(await answer(HTML), { mode: 'transparent' }), accepting('gzip'));
    expect(plain.head).not.toMatch(/vary|content-encoding/i);
    const short = await ask(await serve(await answer(HTML, 'short')), accepting('gzip'));
    expect(short.body.toString()).toBe('short');
    expect(short.head).not.toMatch(/content-encoding/i);
  });

  test('an HTTP/1.0 client and HEAD', async () => {
    const open = await serve(await answer(HTML));
    const old = await ask(open, 'GET / HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n');
    expect(old.body.toString()).toBe(TEXT);
  });
});

test('parts of a body of unknown length reach the client as they come, and the next request finds the connection', async () => {
  let target: Peer | null = null;
  const open = await serve(
    await origin((_, peer) => {
      target = peer;
      peer.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n');
    }),
  );
  const client = await open();
  client.write(accepting('gzip'));
  await client.has('Content-Encoding: gzip\r\n');
  await client.has(/\r\n\r\n[0-9a-f]+\r\n[^]{12,}\r\n/);
  const first = client.bytes;
  target!.write('3\r\ntwo\r\n');
  await client.gets(first + 5);
  target!.write('0\r\n\r\n');
  await client.has(/\r\n0\r\n\r\n$/);
  expect(gunzipSync(unchunk(bodyOf(client.text))).toString()).toBe('onetwo');
  client.take();
  client.write(get());
  await client.has('3\r\none\r\n');
  expect(client.text).not.toContain('Content-Encoding');
});

test('a client that does not read stops the target; one that leaves ends the work; a cut body is never a whole one', async () => {
  let written = 0;
  let upstream: Peer | null = null;
  const noise = randomBytes(64 * 1024);
  const open = await serve(
    await origin((_, peer) => {
      upstream = peer;
      peer.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 104857600\r\n\r\n');
      const more = (): void => {
        while (written < 104_857_600) {
          written += noise.length;
          if (!peer.socket.write(noise)) return;
        }
      };
      peer.socket.on('drain', more);
      more();
    }),
  );
  const client = await open();
  client.write(accepting('gzip'));
  await client.has('Content-Encoding: gzip');
  client.socket.pause();
  let before = -1;
  for (let round = 0; round < 20 && before !== written; round++) {
    before = written;
    await sleep(150);
  }
  expect(written).toBe(before);
  expect(written).toBeLessThan(40 * 1024 * 1024);
  client.socket.destroy();
  await upstream!.ended();

  const cut = await serve(
    await origin((_, peer) => {
      peer.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nhalf');
      setTimeout(() => peer.socket.destroy(), 20);
    }),
  );
  const half = await cut();
  half.write(accepting('gzip'));
  await half.ended();
  expect(half.text).not.toMatch(/\r\n0\r\n\r\n$/);
});

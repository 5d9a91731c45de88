// Life of connections: pipelining, keep-alive, half-close, aborts, stale pools, retries, time-outs, tunnels, back-pressure
// (layer7.md 5, 12–14, 18, 19, 22–25).
import { describe, expect, test } from 'vitest';
import { createHash } from 'node:crypto';
import net from 'node:net';
import { connect, get, getAndClose, OK, okOrigin, origin, sleep, start, statusOf } from './kit.ts';

describe('client connections', () => {
  test('pipelined requests are answered in their order', async () => {
    const target = await origin((head, peer, count) => {
      const path = /^GET (\S+)/.exec(head)![1]!;
      setTimeout(
        () => peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`),
        count === 0 ? 40 : 0,
      );
    });
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.write(get('/1') + get('/2') + get('/nothing', 'Content-Length: 3\r\n').concat('abc') + getAndClose('/4'));
    await peer.ended();
    expect(peer.text.match(/(?<=\r\n\r\n)\/\w+?(?=HTTP|$)/g)).toEqual(['/1', '/2', '/nothing', '/4']);
  });

  test('pipelined requests that end at once do not pile up', async () => {
    const { client } = await start({ routes: [{ domain: 'other.test', targets: ['http://127.0.0.1:1'] }] });
    const peer = await client();
    peer.write(get().repeat(5000));
    await peer.counts(/HTTP\/1\.1 404/g, 5000);
    peer.write(getAndClose());
    await peer.ended();
    expect(peer.text.match(/HTTP\/1\.1 404/g)).toHaveLength(5001);
  });

  test('a client that half-closes after its request gets the answer', async () => {
    const target = await origin((_, peer) => void setTimeout(() => peer.write(OK), 100));
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.socket.end(get());
    await peer.ended();
    expect(statusOf(peer.text)).toBe(200);
    expect(peer.text).toContain('ok');
  });

  test('a client that goes away frees its target within 10 ms', async () => {
    const target = await origin();
    const { client, proxy } = await start({ targets: [target.url] });
    for (const leave of [(socket: net.Socket) => socket.destroy(), (socket: net.Socket) => socket.resetAndDestroy()]) {
      const peer = await client();
      peer.write(get());
      const upstream = await target.connection(target.peers.length);
      await upstream.has('\r\n\r\n');
      await sleep(30);
      const leftAt = performance.now();
      leave(peer.socket);
      await upstream.ended();
      // The promise is 10 ms; a busy machine is given more.
      expect(upstream.goneAt - leftAt).toBeLessThan(100);
    }
    expect(proxy.counters().failures['client-gone']).toBe(2);
  });

  test('a client that goes away in the middle of a response frees its target', async () => {
    const target = await origin((_, peer) => {
      peer.write('HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\nstart');
    });
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.write(get());
    await peer.has('start');
    await sleep(20);
    peer.socket.destroy();
    expect((await (await target.connection()).ended()).goneAt).toBeGreaterThan(0);
  });

  test('a request cut short is not given to the target as if it were whole', async () => {
    const target = await origin();
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.socket.end('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhello');
    await peer.ended();
    expect(statusOf(peer.text)).toBe(400);
    await (await target.connection()).ended();
  });

  test('slow heads, slow bodies and idle connections are ended in time', async () => {
    const target = await okOrigin();
    const limits = { headTimeoutMs: 150, bodyTimeoutMs: 150, keepAliveTimeoutMs: 150 };
    const { client } = await start({ targets: [target.url], limits });
    const head = await client();
    head.write('GET / HTTP/1.1\r\nHost');
    const body = await client();
    body.write('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhel');
    const idle = await client();
    idle.write(get());
    await Promise.all([head.ended(), body.ended(), idle.ended()]);
    expect(statusOf(head.text)).toBe(408);
    expect(statusOf(body.text)).toBe(408);
    expect(idle.text).toBe(OK);
  });

  test('a head that drips in is ended however often it drips', async () => {
    const { client } = await start({ targets: ['http://127.0.0.1:1'], limits: { headTimeoutMs: 200 } });
    const peer = await client();
    peer.write('GET / HTTP/1.1\r\n');
    const timer = setInterval(() => peer.write('X-A: b\r\n'), 30);
    await peer.ended();
    clearInterval(timer);
    expect(statusOf(peer.text)).toBe(408);
  });

  test('the last allowed request of a connection says so', async () => {
    const target = await okOrigin();
    const { client } = await start({ targets: [target.url], limits: { requestsPerConnectionMax: 2 } });
    const peer = await client();
    peer.write(get() + get() + get());
    await peer.ended();
    expect(peer.text.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
    expect(peer.text).toMatch(/Connection: close\r\n\r\nok$/);
  });
});

describe('target connections', () => {
  test('are kept and used again', async () => {
    const target = await okOrigin();
    const { ask } = await start({ targets: [target.url] });
    for (let round = 0; round < 5; round++) expect(statusOf(await ask(getAndClose()))).toBe(200);
    expect(target.peers).toHaveLength(1);
  });

  test('that died idle cost a GET nothing; a POST is not sent twice', async () => {
    const target = await origin((head, peer, count) => {
      // Every other request meets a target that closes instead of answering on the kept connection.
      if (count % 2 === 1 && target.peers.at(-1) === peer && target.peers.length < 3) peer.socket.destroy();
      else peer.write(OK);
    });
    const { ask, proxy } = await start({ targets: [target.url] });
    expect(statusOf(await ask(getAndClose()))).toBe(200);
    expect(statusOf(await ask(getAndClose()))).toBe(200);
    expect(proxy.counters().retries).toBe(1);
    const post = 'POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx';
    expect(statusOf(await ask(post))).toBe(502);
    expect(proxy.counters().retries).toBe(1);
  });

  test('closed by the target while idle are not used again', async () => {
    const target = await origin((_, peer) => {
      peer.write(OK);
      setTimeout(() => peer.socket.end(), 20);
    });
    const { ask, proxy } = await start({ targets: [target.url] });
    const post = 'POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx';
    for (let round = 0; round < 3; round++) {
      expect(statusOf(await ask(post))).toBe(200);
      await sleep(60);
    }
    expect(proxy.counters().retries).toBe(0);
  });

  test('with unasked-for bytes are thrown away, so that nobody gets another one’s answer', async () => {
    const target = await origin((_, peer) => {
      peer.write(OK);
      setTimeout(() => peer.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil'), 20);
    });
    const { ask } = await start({ targets: [target.url] });
    expect(await ask(getAndClose())).toContain('ok');
    await sleep(60);
    expect(await ask(getAndClose())).not.toContain('evil');
    await (await target.connection(0)).ended();
  });

  test('a target that refuses is left for another, with a body too', async () => {
    const target = await okOrigin();
    const dead = await origin();
    await dead.close();
    const { ask, proxy } = await start({ targets: [dead.url, target.url] });
    const post = 'POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello';
    for (let round = 0; round < 6; round++) expect(statusOf(await ask(post))).toBe(200);
    expect(proxy.counters().retries).toBe(3);
    expect(target.peers[0]!.text.match(/hello/g)).toHaveLength(6);
  });

  test('a target that fails again and again rests, and comes back', async () => {
    const target = await okOrigin();
    const dead = await origin();
    await dead.close();
    const limits = { failuresMax: 2, failWindowMs: 400 };
    const { ask, proxy } = await start({ targets: [dead.url, target.url], limits });
    for (let round = 0; round < 8; round++) expect(statusOf(await ask(getAndClose()))).toBe(200);
    expect(proxy.counters().retries).toBe(2);
    await sleep(500);
    for (let round = 0; round < 8; round++) expect(statusOf(await ask(getAndClose()))).toBe(200);
    expect(proxy.counters().retries).toBe(4);
  });

  test('all targets refusing is 502, none at all is 503', async () => {
    const dead = await origin();
    await dead.close();
    const { ask, proxy } = await start({ targets: [dead.url] });
    expect(await ask(getAndClose())).toMatch(/^HTTP\/1\.1 502 .*connect-refused/s);
    expect(proxy.counters().failures).toEqual({ 'connect-refused': 1 });
    const empty = await start({ targets: [{ url: dead.url, weight: 0 }] });
    expect(await empty.ask(getAndClose())).toMatch(/^HTTP\/1\.1 503 .*no-target/s);
  });

  test('a target that says nothing is 504, one that hangs up is 502', async () => {
    const silent = await origin();
    const { ask } = await start({ targets: [silent.url], limits: { readTimeoutMs: 150 } });
    expect(await ask(getAndClose())).toMatch(/^HTTP\/1\.1 504 .*response-timeout/s);
    const rude = await origin((_, peer) => void peer.socket.destroy());
    const other = await start({ targets: [rude.url] });
    expect(await other.ask(getAndClose())).toMatch(/^HTTP\/1\.1 502 .*response-missing/s);
    expect(rude.peers).toHaveLength(1);
  });
});

const UPGRADE = get(
  '/ws',
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGVzdA==\r\nSec-WebSocket-Version: 13\r\n',
);

describe('tunnels', () => {
  test('open only when the target says so, and lose no byte on either side', async () => {
    const target = await origin();
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.write(`${UPGRADE}early`);
    const upstream = await target.connection();
    await upstream.has('\r\n\r\n');
    expect(upstream.text).toMatch(/Upgrade: websocket\r\n/);
    expect(upstream.text).toMatch(/\r\nConnection: Upgrade\r\n/);
    expect(upstream.text).not.toContain('early');
    upstream.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello');
    await peer.has('\r\n\r\nhello');
    expect(peer.text).toMatch(
      /^HTTP\/1\.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello$/,
    );
    await upstream.has('early');
    peer.write('\x81\x85any\0bytes');
    await upstream.has('\x81\x85any\0bytes');
    upstream.write('more');
    await peer.has('more');
  });

  test('carry a half-close both ways', async () => {
    const target = await origin();
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.write(UPGRADE);
    const upstream = await target.connection();
    await upstream.has('\r\n\r\n');
    upstream.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
    await peer.has('101');
    peer.socket.end('last words');
    await upstream.has('last words');
    await upstream.ended();
    upstream.write('an answer');
    await peer.has('an answer');
    upstream.socket.end();
    expect((await peer.ended()).text).toMatch(/an answer$/);
  });

  test('that end abruptly on one side end on the other', async () => {
    const target = await origin();
    const { client, proxy } = await start({ targets: [target.url] });
    for (const side of ['client', 'target'] as const) {
      const peer = await client();
      peer.write(UPGRADE);
      const upstream = await target.connection(target.peers.length);
      await upstream.has('\r\n\r\n');
      upstream.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
      await peer.has('101');
      (side === 'client' ? peer : upstream).socket.resetAndDestroy();
      await (side === 'client' ? upstream : peer).ended();
    }
    expect(proxy.counters().tunnels).toBe(2);
  });

  test('a refusal is relayed and the connection goes on as HTTP', async () => {
    const target = await origin(
      (head, peer) =>
        void peer.write(head.includes('/ws') ? 'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno' : OK),
    );
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.write(UPGRADE + get());
    await peer.has('ok');
    expect(peer.text).toMatch(/^HTTP\/1\.1 403 Forbidden/);
  });

  test('h2c is not offered to targets', async () => {
    const target = await okOrigin();
    const { ask } = await start({ targets: [target.url] });
    await ask(get('/', 'Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n'));
    expect(target.peers[0]!.text).not.toMatch(/upgrade|http2/i);
  });

  test('a WebSocket client of the platform talks through it', async () => {
    const target = await origin((head, peer) => {
      const key = /sec-websocket-key: (.*)\r/i.exec(head)![1]!;
      const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
      peer.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      peer.write(Buffer.from([0x81, 5, ...Buffer.from('hello')]));
    });
    const { port } = await start({ targets: [target.url] });
    const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`);
    const message = await new Promise((resolve, reject) => {
      socket.addEventListener('message', (event) => resolve(event.data));
      socket.addEventListener('error', () => reject(new Error('the WebSocket failed')));
    });
    expect(message).toBe('hello');
    const far = await target.connection();
    far.socket.on('data', (chunk: Buffer) => {
      const text = unmasked(chunk);
      if (text !== null) far.socket.write(Buffer.from([0x81, text.length, ...Buffer.from(text.toUpperCase())]));
    });
    const said: unknown[] = [];
    socket.addEventListener('message', (event) => said.push(event.data));
    for (const text of ['first', 'and second']) {
      socket.send(text);
      await expect.poll(() => said.at(-1)).toBe(text.toUpperCase());
    }
    socket.close();
    await far.has('\x88');
  });
});

/** The text of a short masked frame (RFC 6455 5.2); null for other frames. */
function unmasked(frame: Buffer): string | null {
  if (frame[0] !== 0x81) return null;
  const [mask, bytes] = [frame.subarray(2, 6), frame.subarray(6, 6 + (frame[1]! & 0x7f))];
  return Buffer.from(bytes.map((byte, at) => byte ^ mask[at % 4]!)).toString();
}

describe('back-pressure', () => {
  test('a client that stops reading a large response stops the target', async () => {
    const total = 256 * 1024 * 1024;
    let written = 0;
    const block = Buffer.alloc(1024 * 1024, 'x');
    const target = await origin((_, peer) => {
      peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`);
      const more = (): void => {
        while (written < total) {
          written += block.length;
          if (!peer.socket.write(block)) return void peer.socket.once('drain', more);
        }
      };
      more();
    });
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.keeps = false;
    peer.write(get());
    peer.socket.pause();
    const before = process.memoryUsage().rss;
    let last = -1;
    while (written !== last) {
      last = written;
      await sleep(300);
    }
    // What both kernels and the watermarks hold, not what the target would like to send.
    expect(written).toBeLessThan(32 * 1024 * 1024);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
    peer.socket.resume();
    await peer.gets(total);
  });

  test('a target that stops reading an upload stops the client', async () => {
    const target = await origin();
    const { client } = await start({ targets: [target.url], limits: { bodyBytesMax: 1e9 } });
    const peer = await client();
    const total = 200 * 1024 * 1024;
    peer.write(`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${total}\r\n\r\n`);
    const upstream = await target.connection();
    await upstream.has('\r\n\r\n');
    upstream.keeps = false;
    upstream.bytes = 0;
    upstream.socket.pause();
    let written = 0;
    const block = Buffer.alloc(1024 * 1024, 'x');
    const more = (): void => {
      while (written < total) {
        written += block.length;
        if (!peer.socket.write(block)) return void peer.socket.once('drain', more);
      }
    };
    more();
    let last = -1;
    while (written !== last) {
      last = written;
      await sleep(300);
    }
    expect(written).toBeLessThan(32 * 1024 * 1024);
    upstream.socket.resume();
    await upstream.gets(total);
    upstream.keeps = true;
    upstream.write(OK);
    await peer.has('ok');
  });

  test('a client that pipelines and never reads is not answered without bound', async () => {
    const body = 'x'.repeat(100_000);
    let answered = 0;
    const target = await origin((_, peer) => {
      answered++;
      peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    });
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.keeps = false;
    peer.socket.pause();
    peer.write(get().repeat(1000));
    let last = -1;
    while (answered !== last) {
      last = answered;
      await sleep(200);
    }
    expect(answered).toBeLessThan(500);
    peer.socket.resume();
    await peer.gets(1000 * body.length);
  });

  test('a client that never reads is ended in time', async () => {
    const target = await origin((_, peer) => {
      peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${64 * 1024 * 1024}\r\n\r\n`);
      peer.write(Buffer.alloc(64 * 1024 * 1024));
    });
    const { port } = await start({ targets: [target.url], limits: { sendTimeoutMs: 300 } });
    const peer = await connect(port);
    peer.socket.pause();
    peer.write(get());
    expect((await (await target.connection()).ended()).goneAt).toBeGreaterThan(0);
  });
});

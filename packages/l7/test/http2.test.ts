// HTTP/2 clients: the same walk, conversion that cannot smuggle, limits, tunnels, drain. Frames are written by hand where node:http2 is too polite.
import { execFile } from 'node:child_process';
import http2 from 'node:http2';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { CERTIFICATES } from './certificates.ts';
import {
  answer,
  ask,
  block,
  END_HEADERS,
  END_STREAM,
  frame,
  frames,
  GET,
  HEADERS,
  literal,
  rawSession,
  session,
} from './h2-kit.ts';
import { connect, named, OK, okOrigin, origin, sleep, start } from './kit.ts';

const run = promisify(execFile);
const certificates = (id: string) => CERTIFICATES[id];

describe('HTTP/2', () => {
  test('is spoken by prior knowledge, byte by byte too, and by ALPN, to curl and beside HTTP/1.1 on one port', async () => {
    const target = await okOrigin();
    const { port } = await start({ targets: [target.url] });
    const curl = async (...args: string[]) =>
      (await run('curl', ['-sk', '-m', '5', '-w', ' %{http_version} %{http_code}', ...args])).stdout;
    expect(await curl('--http2-prior-knowledge', `http://127.0.0.1:${port}/`)).toBe('ok 2 200');
    expect(await curl('--http1.1', `http://127.0.0.1:${port}/`)).toBe('ok 1.1 200');
    const secure = await start({ targets: [target.url], certificateIds: ['a.test'], certificates });
    expect(await curl('--http2', `https://127.0.0.1:${secure.port}/`)).toBe('ok 2 200');
    expect(await curl('--http1.1', `https://127.0.0.1:${secure.port}/`)).toBe('ok 1.1 200');
    // nghttp2 would be content with its preface in one piece; a network need not.
    const peer = await connect(port);
    const bytes = Buffer.concat([
      Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
      frame(4, 0, 0, Buffer.alloc(0)),
      frame(HEADERS, END_STREAM | END_HEADERS, 1, block(GET)),
    ]);
    for (const byte of bytes) {
      peer.write(Buffer.from([byte]));
      await sleep(0);
    }
    await peer.has('ok');
  });

  test('reaches the target as one plain HTTP/1.1 request: cookies joined, the client named, te kept', async () => {
    const target = await okOrigin();
    const { port } = await start({ targets: [target.url] });
    const got = await ask(session(port), {
      ':path': '/p?q=1',
      'x-real-ip': '6.6.6.6',
      cookie: ['a=1', 'b=2'],
      te: 'trailers',
      'x-one': '1',
    });
    expect(got).toMatchObject({ status: 200, body: 'ok' });
    const head = target.peers[0]!.text;
    expect(head).toMatch(/^GET \/p\?q=1 HTTP\/1\.1\r\nHost: a\.test\r\n/);
    expect(head).toContain('ookie: a=1; b=2\r\n');
    expect(head).toContain('X-Real-IP: 127.0.0.1\r\n');
    expect(head).not.toContain('6.6.6.6');
    expect(head).toContain('Connection: TE\r\nTE: trailers\r\n');
    expect(head.match(/^host:/gim)).toHaveLength(1);
  });

  test('carries bodies both ways, with a length, in chunks, and with trailers', async () => {
    const target = await origin((head, peer) => {
      if (head.startsWith('GET /big'))
        peer.write(`HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n${'y'.repeat(3e6)}`);
      else if (head.startsWith('HEAD')) peer.write('HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n');
      else if (head.startsWith('GET /close')) peer.write('HTTP/1.0 200 OK\r\n\r\nuntil the end').socket.end();
      else {
        peer.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n');
        peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n');
        peer
          .write('3\r\nabc\r\n')
          .write(
            '3;x=y\r\ndef\r\n0\r\nGrpc-Status: 0\r\nContent-Length: 9\r\n\r\n'.replace('Content-Length: 9\r\n', ''),
          );
      }
    });
    const { port } = await start({ targets: [target.url] });
    const client = session(port);
    const stream = client.request({ ':method': 'POST', ':path': '/', ':authority': 'a.test', te: 'trailers' }, {
      waitForTrailers: true,
    } as never);
    const hints = new Promise((resolve) => stream.once('headers', resolve));
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '5' }));
    stream.write('x'.repeat(100_000));
    stream.end('last');
    const got = await answer(stream);
    expect(await hints).toMatchObject({ ':status': 103, link: '</a>' });
    expect(got).toMatchObject({ status: 200, body: 'abcdef', code: 0 });
    expect(got.headers['set-cookie']).toEqual(['a=1', 'b=2']);
    expect(got.headers['transfer-encoding']).toBeUndefined();
    expect(got.trailers).toMatchObject({ 'grpc-status': '0' });
    expect(target.peers[0]!.text).toContain('Transfer-Encoding: chunked\r\n');
    expect(target.peers[0]!.text).toMatch(/last\r\n0\r\nx-sum: 5\r\n\r\n$/);
    const sized = await ask(client, { ':method': 'PUT', 'content-length': 5 }, 'hello');
    expect(sized.status).toBe(200);
    expect(target.peers.map(({ text }) => text).join('')).toMatch(/content-length: 5\r\n[^]*\r\n\r\nhello/i);
    expect((await ask(client, { ':path': '/big' })).body).toBe('y'.repeat(3e6));
    expect(await ask(client, { ':method': 'HEAD' })).toMatchObject({ status: 200, body: '', code: 0 });
    expect((await ask(client, { ':path': '/close' })).body).toBe('until the end');
  });

  test.each<[string, readonly (readonly [string, string])[]]>([
    ['a request without a path', GET.filter(([name]) => name !== ':path')],
    ['a request without a host', GET.filter(([name]) => name !== ':authority')],
    ['an empty path', [...GET.filter(([name]) => name !== ':path'), [':path', '']]],
    ['a line end in a path', [...GET.filter(([name]) => name !== ':path'), [':path', '/ HTTP/1.1\r\nX: y']]],
    ['a space in a path', [...GET.filter(([name]) => name !== ':path'), [':path', '/a b']]],
    ['an absolute path', [...GET.filter(([name]) => name !== ':path'), [':path', 'http://b.test/']]],
    ['a space in a method', [...GET.filter(([name]) => name !== ':method'), [':method', 'GET /x HTTP/1.1']]],
    ['another scheme', [...GET.filter(([name]) => name !== ':scheme'), [':scheme', 'https']]],
    [
      'user information in the authority',
      [...GET.filter(([name]) => name !== ':authority'), [':authority', 'u@a.test']],
    ],
    ['an unknown pseudo header', [...GET, [':x', 'y']]],
    ['two paths', [...GET, [':path', '/b']]],
    ['a pseudo header behind a field', [...GET.slice(0, 3), ['x', 'y'], GET[3]]],
    ['a host that is not the authority', [...GET, ['host', 'b.test']]],
    ['two hosts', [...GET, ['host', 'a.test'], ['host', 'a.test']]],
    ['an upper-case name', [...GET, ['X-Up', 'y']]],
    ['connection', [...GET, ['connection', 'close']]],
    ['keep-alive', [...GET, ['keep-alive', 'timeout=5']]],
    ['proxy-connection', [...GET, ['proxy-connection', 'x']]],
    ['transfer-encoding', [...GET, ['transfer-encoding', 'chunked']]],
    ['upgrade', [...GET, ['upgrade', 'h2c']]],
    ['te that is not trailers', [...GET, ['te', 'gzip']]],
    ['two lengths', [...GET, ['content-length', '1'], ['content-length', '1']]],
    ['a length that is no number', [...GET, ['content-length', '+1']]],
    ['a length without a body', [...GET, ['content-length', '5']]],
    [
      'CONNECT without a protocol',
      [
        [':method', 'CONNECT'],
        [':authority', 'a.test:80'],
      ],
    ],
    ['an unknown protocol of CONNECT', [[':method', 'CONNECT'], [':protocol', 'x'], ...GET.slice(1)]],
  ])('refuses %s and the target hears nothing of it', async (_, fields) => {
    const target = await okOrigin();
    const { port } = await start({ targets: [target.url] });
    const peer = await rawSession(port);
    peer.write(frame(HEADERS, END_STREAM | END_HEADERS, 1, block(fields)));
    // The connection, or at least the next stream, says that the first one is over.
    for (let tries = 0; tries < 200 && !frames(peer).some(({ type, id }) => id === 1 || type === 7); tries++)
      await sleep(5);
    expect(frames(peer).some(({ type, id }) => (id === 1 && (type === 1 || type === 3)) || type === 7)).toBe(true);
    expect(peer.text).not.toContain('ok');
    expect(target.peers).toHaveLength(0);
  });

  test.each<[string, string, string]>([
    ['a line end in its value', 'x', 'y\r\nsmuggled: 1'],
    ['a null byte in its value', 'x', 'smuggled\0z'],
    ['a colon in its name', 'smuggled:y', 'z'],
    ['a space in its name', 'smuggled y', 'z'],
  ])('leaves a field with %s out', async (_, name, value) => {
    const target = await okOrigin();
    const { port } = await start({ targets: [target.url] });
    const peer = await rawSession(port);
    peer.write(frame(HEADERS, END_STREAM | END_HEADERS, 1, block([...GET, [name, value]])));
    await peer.has('ok');
    expect(target.peers[0]!.text).not.toContain('smuggled');
  });

  test('holds bodies to the length they announced', async () => {
    const target = await origin();
    const { port, proxy } = await start({ targets: [target.url] });
    for (const body of ['12', '12345678']) {
      const peer = await rawSession(port);
      peer.write(
        frame(HEADERS, END_HEADERS, 1, block([[':method', 'POST'], ...GET.slice(1), ['content-length', '5']])),
      );
      peer.write(frame(0, END_STREAM, 1, Buffer.from(body)));
      for (let tries = 0; tries < 200 && !frames(peer).some(({ type, id }) => id === 1 || type === 7); tries++)
        await sleep(5);
      expect(frames(peer).some(({ type, id }) => (id === 1 && (type === 3 || type === 1)) || type === 7)).toBe(true);
    }
    await sleep(20);
    expect(
      target.peers.every(({ text, isEnded, wasReset }) => !text.includes('12345678') && (isEnded || wasReset)),
    ).toBe(true);
    expect(proxy.counters().requests).toBe(2);
  });

  test('cuts the target off at once when the client resets its stream, and others on the connection go on', async () => {
    const target = await origin((head, peer) => void (head.includes('/slow') ? 0 : peer.write(OK)));
    const { port } = await start({ targets: [target.url] });
    const client = session(port);
    const stream = client.request({ ':path': '/slow', ':authority': 'a.test' });
    stream.on('error', () => {});
    const far = await target.connection();
    await far.has('/slow');
    const at = performance.now();
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await far.ended();
    expect(far.goneAt - at).toBeLessThan(100);
    expect((await ask(client, { ':path': '/' })).body).toBe('ok');
  });

  test.each([
    ['in the middle of its length', 'Content-Length: 10\r\n\r\nhello'],
    ['between chunks', 'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'],
  ])('resets the stream when a response is cut short %s', async (_, rest) => {
    const target = await origin((_head, peer) => {
      peer.write(`HTTP/1.1 200 OK\r\n${rest}`);
      setTimeout(() => peer.socket.destroy(), 20);
    });
    const { port } = await start({ targets: [target.url] });
    const got = await ask(session(port), { ':path': '/' });
    expect(got).toMatchObject({ status: 200, body: 'hello', code: http2.constants.NGHTTP2_INTERNAL_ERROR });
  });

  test('keeps a bounded part of a large response for a client that does not read', async () => {
    let sent = 0;
    const target = await origin((_head, peer) => {
      peer.write('HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n');
      const chunk = Buffer.alloc(64 * 1024, 0x7a);
      const more = (): void => {
        while (sent < 100_000_000) {
          sent += chunk.length;
          if (!peer.socket.write(chunk)) return void peer.socket.once('drain', more);
        }
      };
      more();
    });
    const { port } = await start({ targets: [target.url] });
    const stream = session(port).request({ ':path': '/', ':authority': 'a.test' });
    stream.pause();
    await sleep(300);
    const before = sent;
    await sleep(200);
    expect(sent).toBe(before);
    expect(sent).toBeLessThan(16_000_000);
  });

  test('stops a client whose target does not read', async () => {
    const target = await origin();
    const { port } = await start({ targets: [target.url], limits: { bodyBytesMax: 1e9 } });
    const stream = session(port).request({ ':method': 'POST', ':path': '/', ':authority': 'a.test' });
    stream.on('error', () => {});
    const far = await (stream.write('x'), target.connection());
    far.socket.pause();
    let sent = 0;
    const chunk = Buffer.alloc(64 * 1024);
    const more = (): void => {
      while (sent < 100_000_000) {
        sent += chunk.length;
        if (!stream.write(chunk)) return void stream.once('drain', more);
      }
    };
    more();
    await sleep(400);
    const before = sent;
    await sleep(200);
    expect(sent).toBe(before);
    expect(sent).toBeLessThan(16_000_000);
  });

  test('opens a WebSocket on a stream (RFC 8441) and carries bytes and ends both ways', async () => {
    const target = await origin((head, peer) => {
      if (head.includes('/no')) return void peer.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
      if (head.includes('/odd')) return void peer.write(OK);
      peer.write(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nearly',
      );
    });
    const { port } = await start({ targets: [target.url] });
    const client = session(port);
    await new Promise((resolve) => client.once('remoteSettings', resolve));
    const open = (path: string) =>
      client.request(
        {
          ':method': 'CONNECT',
          ':protocol': 'websocket',
          ':path': path,
          ':authority': 'a.test',
          ':scheme': 'http',
          'sec-websocket-version': '13',
        },
        { endStream: false },
      );
    const stream = open('/chat');
    const got = answer(stream);
    const far = await target.connection();
    await far.has('Upgrade: websocket\r\n');
    expect(far.text).toMatch(/^GET \/chat HTTP\/1\.1\r\n/);
    expect(far.text).toMatch(/Sec-WebSocket-Key: [A-Za-z0-9+/]{22}==\r\n/);
    stream.write('ping');
    await far.has('ping');
    far.write('pong');
    stream.end('bye');
    await far.has('bye');
    await far.ended();
    far.socket.end();
    expect(await got).toMatchObject({ status: 200, body: 'earlypong', code: 0 });
    const refused = open('/no');
    expect(await answer(refused)).toMatchObject({ status: 403, body: 'no' });
    // A 200 that is no 101 must not look like an open tunnel.
    expect((await answer(open('/odd'))).status).not.toBe(200);
  });

  test('ends a connection that resets streams as fast as it opens them', async () => {
    const target = await origin();
    const { port, proxy } = await start({ targets: [target.url], limits: { h2ResetsMax: 50, h2StreamsMax: 30 } });
    const peer = await rawSession(port);
    for (let id = 1; id < 2000; id += 2) {
      peer.write(frame(HEADERS, END_STREAM | END_HEADERS, id, block(GET)));
      peer.write(frame(3, 0, id, Buffer.from([0, 0, 0, 8])));
    }
    await peer.ended();
    expect(frames(peer).find(({ type }) => type === 7)?.code).toBe(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
    expect(proxy.counters().failures['h2-resets']).toBe(1);
    expect(proxy.counters().requests).toBeLessThan(120);
  });

  test('ends a connection that floods it with CONTINUATION or with a header bomb', async () => {
    const target = await okOrigin();
    const { port } = await start({ targets: [target.url] });
    const flood = await rawSession(port);
    flood.write(frame(HEADERS, END_STREAM, 1, block(GET)));
    for (let count = 0; count < 1000; count++) flood.write(frame(9, 0, 1, literal('x', 'y'.repeat(100))));
    await flood.ended();
    const bomb = await rawSession(port);
    // One indexed field (62) costs a byte on the wire and 4,000 in memory.
    const indexed = Buffer.concat([
      Buffer.from([0x40, 1]),
      Buffer.from('x'),
      Buffer.from([0x7f, 0x81, 0x1e]),
      Buffer.alloc(4000, 0x61),
    ]);
    bomb.write(
      frame(HEADERS, END_STREAM | END_HEADERS, 1, Buffer.concat([block(GET), indexed, Buffer.alloc(2000, 0xbe)])),
    );
    for (let tries = 0; tries < 200 && !frames(bomb).some(({ type, id }) => id === 1 || type === 7); tries++)
      await sleep(5);
    expect(frames(bomb).some(({ type, id }) => (type === 3 && id === 1) || type === 7)).toBe(true);
    expect(target.peers).toHaveLength(0);
  });

  test('refuses more streams at once than it offers', async () => {
    const target = await origin();
    const { port } = await start({ targets: [target.url], limits: { h2StreamsMax: 3 } });
    const peer = await rawSession(port);
    for (let id = 1; id <= 9; id += 2) peer.write(frame(HEADERS, END_STREAM | END_HEADERS, id, block(GET)));
    for (let tries = 0; tries < 200 && frames(peer).filter(({ type }) => type === 3 || type === 7).length < 2; tries++)
      await sleep(5);
    expect(target.peers.length).toBeLessThanOrEqual(3);
    expect(frames(peer).some(({ type }) => type === 3 || type === 7)).toBe(true);
  });

  test('says GOAWAY when the proxy closes and lets the stream in flight end', async () => {
    const target = await origin((_, peer) => void setTimeout(() => peer.write(OK), 80));
    const { port, proxy } = await start({ targets: [target.url], limits: { drainMs: 2000 } });
    const client = session(port);
    const goaway = new Promise<number>((resolve) => client.once('goaway', resolve));
    const got = ask(client, { ':path': '/' });
    await target.connection();
    const closed = proxy.close();
    expect(await goaway).toBe(0);
    expect(await got).toMatchObject({ status: 200, body: 'ok' });
    await closed;
  });

  test('answers early while the body still comes, then lets go of the stream', async () => {
    const target = await origin();
    const { port } = await start({ targets: [target.url], limits: { bodyBytesMax: 1000 } });
    const client = session(port);
    const stream = client.request({ ':method': 'POST', ':path': '/', ':authority': 'a.test' });
    stream.write('x'.repeat(2000));
    expect(await answer(stream)).toMatchObject({ status: 413 });
    expect((await ask(client, { ':path': '/', ':method': 'TRACE' })).status).toBe(405);
  });

  test('routes each stream by its own host and answers 404 for one that nobody serves', async () => {
    const [one, two] = [await named('one'), await named('two')];
    const { port } = await start({
      routes: [
        { domain: 'a.test', path: '/', targets: [one.url] },
        { domain: 'b.test', path: '/', targets: [two.url] },
      ],
    });
    const client = session(port);
    const bodies = await Promise.all(
      ['a.test', 'b.test', 'c.test'].map((name) => ask(client, { ':path': '/', ':authority': name })),
    );
    expect(bodies.map(({ status, body }) => [status, body.slice(0, 3)])).toEqual([
      [200, 'one'],
      [200, 'two'],
      [404, '404'],
    ]);
  });

  test('leaves a client of HTTP/1.1 that only looks like it with 505', async () => {
    const { ask: askPlain } = await start({ targets: ['http://127.0.0.1:1'] });
    expect(await askPlain('PRI * HTTP/2.0\r\nHost: a\r\n\r\n')).toMatch(/^HTTP\/1\.1 505 /);
  });
});

// What a target gets and what a client gets back: fields, framing, interim responses, expectations (layer7.md 5, 6–11, 15–17, 20, 21, 25).
import { describe, expect, test } from 'vitest';
import { get, getAndClose, OK, okOrigin, origin, start, statusOf } from './kit.ts';

/** Sends one request and returns the head that the target saw. */
async function seenBy(request: string): Promise<string> {
  let seen = '';
  const target = await origin((head, peer) => {
    seen = head;
    peer.write(OK);
  });
  const { ask } = await start({ targets: [target.url] });
  await ask(request);
  return seen;
}

/** Sends one request to a target that answers these bytes, and returns what the client got. */
async function answered(response: string, request = getAndClose(), closes = false): Promise<string> {
  const target = await origin((_, peer) => {
    peer.write(response);
    if (closes) peer.socket.end();
  });
  const { ask } = await start({ targets: [target.url] });
  return ask(request);
}

describe('a request', () => {
  test('arrives byte for byte, with the identity of the client behind it', async () => {
    expect(
      await seenBy(get('/a/../b//c;d?e=%2f&f', 'X-MiXeD:   two  words \r\nX-A: 1\r\nX-A: 2\r\nConnection: close\r\n')),
    ).toBe(
      'GET /a/../b//c;d?e=%2f&f HTTP/1.1\r\nHost: a.test\r\nX-MiXeD:   two  words \r\nX-A: 1\r\nX-A: 2\r\n' +
        'X-Real-IP: 127.0.0.1\r\nX-Client-Proto: http\r\nX-Forwarded-Proto: http\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n',
    );
  });

  test('cannot choose who it comes from', async () => {
    const seen = await seenBy(
      getAndClose(
        '/',
        'X-Real-IP: 6.6.6.6\r\nx_real_ip: 6.6.6.6\r\nX-Client-Proto: https\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n',
      ),
    );
    expect(seen).not.toContain('6.6.6.6');
    expect(seen).not.toContain('https');
    expect(seen.match(/X-Forwarded-For: .*/g)).toEqual(['X-Forwarded-For: 1.1.1.1, 2.2.2.2, 127.0.0.1']);
    expect(seen.match(/x.real.ip/gi)).toHaveLength(1);
  });

  test('loses its hop-by-hop fields and those that Connection names', async () => {
    const seen = await seenBy(
      get(
        '/',
        'Connection: close, X-Secret , keep-alive\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\nProxy-Authorization: x\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n',
      ),
    );
    expect(seen.split('\r\n')[0]).toBe('GET / HTTP/1.1');
    expect(seen).not.toMatch(/connection|x-secret|keep-alive|\bte:|proxy-|upgrade|http2/i);
  });

  test('cannot use Connection to take identity, host or credentials away', async () => {
    const seen = await seenBy(
      get(
        '/',
        'Connection: close, X-Real-IP, X-Forwarded-For, Host, Authorization, Cookie\r\nAuthorization: Basic eA==\r\nCookie: a=b\r\n',
      ),
    );
    expect(seen).toContain('Host: a.test');
    expect(seen).toContain('Authorization: Basic eA==');
    expect(seen).toContain('Cookie: a=b');
    expect(seen).toContain('X-Real-IP: 127.0.0.1');
    expect(seen).toContain('X-Forwarded-For: 127.0.0.1');
  });

  test('in absolute form gets its host from the target', async () => {
    const seen = await seenBy('GET http://b.test:81/q?x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n');
    expect(seen).toMatch(/^GET \/q\?x HTTP\/1\.1\r\n/);
    expect(seen.match(/host: .*/gi)).toEqual(['Host: b.test:81']);
    expect(await seenBy('GET http://b.test HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n')).toMatch(
      /^GET \/ HTTP/,
    );
    expect(await seenBy('GET http://b.test?x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n')).toMatch(
      /^GET \/\?x HTTP/,
    );
  });

  test('of HTTP/1.0 arrives as 1.1 with a host', async () => {
    const seen = await seenBy('GET /x HTTP/1.0\r\n\r\n');
    expect(seen).toMatch(/^GET \/x HTTP\/1\.1\r\n/);
    expect(seen).toMatch(/\r\nHost: 127\.0\.0\.1:\d+\r\n/);
  });

  test('GET keeps its body', async () => {
    let body = '';
    const target = await origin((_, peer) => {
      body = peer.text.slice(peer.text.indexOf('\r\n\r\n') + 4);
      peer.write(OK);
    });
    const { ask } = await start({ targets: [target.url] });
    await ask(`GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello`);
    expect(body).toBe('hello');
  });

  test('chunked arrives chunked, without extensions, with its trailers', async () => {
    const target = await okOrigin();
    const { ask } = await start({ targets: [target.url] });
    await ask(
      'POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3;a="b"\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\nHost: b.test\r\nX-Real-IP: 6.6.6.6\r\n\r\n',
    );
    const text = target.peers[0]!.text;
    expect(text.slice(text.indexOf('\r\n\r\n') + 4)).toBe('3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n');
  });

  test('in pieces of one byte arrives whole', async () => {
    const target = await okOrigin();
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    for (const byte of 'POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3;x\r\nabc\r\n0\r\nA: b\r\n\r\n') {
      peer.write(byte);
      await new Promise(setImmediate);
    }
    await peer.ended();
    expect(statusOf(peer.text)).toBe(200);
    const text = target.peers[0]!.text;
    expect(text.slice(text.indexOf('\r\n\r\n') + 4)).toBe('3\r\nabc\r\n0\r\nA: b\r\n\r\n');
  });

  test('larger than the cap is 413, told by its length or by its bytes', async () => {
    const target = await okOrigin();
    const { ask } = await start({ targets: [target.url], limits: { bodyBytesMax: 10 } });
    expect(statusOf(await ask('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 11\r\n\r\nhello world'))).toBe(413);
    expect(target.peers).toHaveLength(0);
    const chunked =
      'POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n';
    expect(statusOf(await ask(chunked))).toBe(413);
    expect(
      statusOf(
        await ask('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\nConnection: close\r\n\r\n0123456789'),
      ),
    ).toBe(200);
  });
});

describe('a response', () => {
  test('comes back byte for byte without its hop-by-hop fields', async () => {
    const got = await answered(
      'HTTP/1.1 299 Odd Reason\r\nX-MiXeD:  a \r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 3\r\n\r\nabc',
      get(),
    ).catch((error: Error) => error.message);
    expect(got).toContain(
      'HTTP/1.1 299 Odd Reason\r\nX-MiXeD:  a \r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 3\r\n\r\nabc',
    );
  });

  test('to HEAD has a length and no body, and the connection goes on', async () => {
    const target = await origin(
      (head, peer) => void peer.write(head.startsWith('HEAD') ? 'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n' : OK),
    );
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.write('HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n');
    await peer.has('Content-Length: 999\r\n\r\n');
    peer.take();
    peer.write(get());
    await peer.has('\r\n\r\nok');
    expect(target.peers).toHaveLength(1);
  });

  test('204 and 304 have no body whatever they say, and the connection goes on', async () => {
    const target = await origin((head, peer) => {
      if (head.includes('/204')) peer.write('HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n');
      else if (head.includes('/304'))
        peer.write('HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: "x"\r\n\r\n');
      else peer.write(OK);
    });
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.write(get('/204'));
    expect((await peer.has('\r\n\r\n')).take()).toBe('HTTP/1.1 204 No Content\r\n\r\n');
    peer.write(get('/304'));
    expect((await peer.has('\r\n\r\n')).take()).toBe(
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: "x"\r\n\r\n',
    );
    peer.write(get('/'));
    await peer.has('\r\n\r\nok');
    expect(target.peers).toHaveLength(1);
  });

  test('that ends by FIN is chunked for HTTP/1.1 and closes for HTTP/1.0', async () => {
    const bytes = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello';
    expect(await answered(bytes, getAndClose(), true)).toMatch(
      /Transfer-Encoding: chunked\r\n.*\r\n\r\n5\r\nhello\r\n0\r\n\r\n$/s,
    );
    expect(await answered(bytes, 'GET / HTTP/1.0\r\n\r\n', true)).toMatch(/Connection: close\r\n\r\nhello$/);
  });

  test('chunked is passed on with trailers for those who read them, and unpacked for HTTP/1.0', async () => {
    const bytes =
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5;q\r\nhello\r\n0\r\nX-Sum: 1\r\nSet-Cookie: no=1\r\n\r\n';
    expect(await answered(bytes, get('/', 'TE: trailers\r\nConnection: TE, close\r\n'))).toMatch(
      /\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n$/,
    );
    expect(await answered(bytes)).toMatch(/\r\n\r\n5\r\nhello\r\n0\r\n\r\n$/);
    const old = await answered(bytes, 'GET / HTTP/1.0\r\n\r\n');
    expect(old).toMatch(/\r\n\r\nhello$/);
    expect(old).not.toContain('chunked');
  });

  test('to a HTTP/1.0 client that asks for it keeps the connection', async () => {
    const target = await okOrigin();
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    for (let round = 0; round < 2; round++) {
      peer.write('GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n');
      expect((await peer.has('ok')).take()).toContain('\r\nConnection: keep-alive\r\n');
    }
  });

  for (const [name, bytes] of [
    [
      'length and coding together',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    ],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok'],
    ['LF line ends', 'HTTP/1.1 200 OK\nContent-Length: 2\n\nok'],
    ['a folded field', 'HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok'],
    ['a space before the colon', 'HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok'],
    ['an unknown coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok'],
    ['a bad status', 'HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['a status of 99', 'HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['no HTTP at all', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['another version', 'HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['101 that nobody asked for', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n'],
    ['a NUL in a value', 'HTTP/1.1 200 OK\r\nX-A: \0\r\nContent-Length: 2\r\n\r\nok'],
    ['a bad first chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n'],
    ['endless interim responses', 'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n'.repeat(40) + OK],
    ['a head without end', `HTTP/1.1 200 OK\r\nX-A: ${'x'.repeat(70_000)}`],
  ] as const) {
    test(`with ${name} is 502 and its connection is not used again`, async () => {
      const target = await origin((_, peer) => void peer.write(bytes));
      const { ask } = await start({ targets: [target.url] });
      const response = await ask(getAndClose());
      expect(response).toMatch(/HTTP\/1\.1 502 Bad Gateway\r\n(?:.*\r\n)*\r\n502/);
      await (await target.connection()).ended();
    });
  }

  test('cut short ends the client connection, never as if it were whole', async () => {
    for (const bytes of [
      'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
    ]) {
      const target = await origin((_, peer) => {
        peer.write(bytes);
        setTimeout(() => peer.socket.destroy(), 30);
      });
      const { client } = await start({ targets: [target.url] });
      const peer = await client();
      peer.write(get());
      await peer.ended();
      expect(peer.text).toContain('hello');
      expect(peer.text).not.toContain('\r\n0\r\n');
      expect(peer.wasReset).toBe(true);
    }
  });

  test('with bytes behind it is delivered, and they are not taken for the next answer', async () => {
    const target = await origin(
      (_, peer, count) => void peer.write(count === 0 ? `${OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil` : OK),
    );
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.write(get());
    expect((await peer.has('ok')).take()).not.toContain('evil');
    peer.write(get());
    expect((await peer.has('ok')).take()).not.toContain('evil');
    expect(target.peers).toHaveLength(2);
  });
});

describe('interim responses and expectations', () => {
  test('102 and 103 are relayed before the final response, to HTTP/1.1 only', async () => {
    const bytes = `HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${OK}`;
    expect(await answered(bytes)).toMatch(
      /^HTTP\/1\.1 102 Processing\r\n\r\nHTTP\/1\.1 103 Early Hints\r\nLink: <\/a>\r\n\r\nHTTP\/1\.1 200 OK/,
    );
    expect(await answered(bytes, 'GET / HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.1 200 OK/);
  });

  test('100 comes from the target, and the body waits for it', async () => {
    const target = await origin();
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.write('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n');
    const upstream = await target.connection();
    await upstream.has('\r\n\r\n');
    expect(upstream.text).toContain('Expect: 100-continue');
    expect(peer.text).toBe('');
    upstream.write('HTTP/1.1 100 Continue\r\n\r\n');
    await peer.has('HTTP/1.1 100 Continue\r\n\r\n');
    peer.write('hello');
    await upstream.has('hello');
    upstream.write(OK);
    await peer.has('ok');
    expect(peer.text.match(/100 Continue/g)).toHaveLength(1);
  });

  test('a final answer instead of 100 is delivered and ends the connection', async () => {
    const target = await origin();
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.write('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n');
    const upstream = await target.connection();
    await upstream.has('\r\n\r\n');
    upstream.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
    await peer.ended();
    expect(peer.text).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n.*Connection: close\r\n\r\nno$/s);
    await upstream.ended();
  });

  test('an early refusal of a running upload reaches the client', async () => {
    const target = await origin();
    const { client } = await start({ targets: [target.url] });
    const peer = await client();
    peer.write('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n');
    const upstream = await target.connection();
    await upstream.has('\r\n\r\n');
    upstream.write('HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig');
    for (let part = 0; part < 10; part++) peer.write('x'.repeat(50_000));
    await peer.ended();
    expect(peer.text).toMatch(/^HTTP\/1\.1 413 .*\r\n\r\nbig$/s);
    await upstream.ended();
  });
});

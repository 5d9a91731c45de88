// Policies on the wire: stickiness, redirects, conditions, limits, header edits (tencent-cloud.md C-P0, E2, E3, E5).
import { describe, expect, onTestFinished, test } from 'vitest';
import type { ListenerPolicy, ProxyImage, RulePolicy } from '@openclb/model';
import { createProxy, type Proxy } from '../src/index.ts';
import { imageOf } from '../src/simple.ts';
import { proxyHeader } from '../src/relay/proxy-protocol.ts';
import { bodyOf, connect, get, getAndClose, named, okOrigin, origin, type Origin, sleep, statusOf } from './kit.ts';

interface RuleGiven {
  readonly path?: string;
  readonly domain?: string;
  readonly targets?: readonly Origin[];
  readonly policy?: RulePolicy;
  readonly scheduler?: 'wrr' | 'maglev' | 'p2c';
}

async function image(rules: readonly RuleGiven[], listener?: ListenerPolicy): Promise<ProxyImage> {
  const made = await imageOf({
    listen: 0,
    routes: rules.map(({ domain, path, targets = [], scheduler }) => ({
      ...(domain === undefined ? {} : { domain }),
      ...(path === undefined ? {} : { path }),
      ...(scheduler === undefined ? {} : { scheduler }),
      targets: targets.map(({ url }) => url),
    })),
  });
  rules.forEach(({ policy, targets }, index) => {
    const row = made.listeners[0]!.rules[index]!;
    if (policy !== undefined) row.policy = policy;
    if (targets === undefined) delete row.group;
  });
  if (listener !== undefined) made.listeners[0]!.policy = listener;
  return made;
}

async function serve(
  rules: readonly RuleGiven[],
  listener?: ListenerPolicy,
): Promise<{ proxy: Proxy; port: number; ask: (bytes: string, from?: string) => Promise<string> }> {
  const proxy = await createProxy({ bind: 'vips', stickinessKey: 'k', limits: { drainMs: 50, lingerMs: 300 } });
  onTestFinished(() => proxy.close());
  await proxy.apply(await image(rules, listener));
  const { port } = proxy.addresses()[0]!;
  return {
    proxy,
    port,
    ask: async (bytes, from) => {
      const peer = await connect(port, from === undefined ? {} : { localAddress: from });
      peer.write(bytes);
      await peer.ended();
      peer.socket.destroy();
      return peer.text;
    },
  };
}

const cookieFrom = (response: string, name = 'tgw_l7_route'): string =>
  new RegExp(`^Set-Cookie: ${name}=([^;\\r]*)`, 'm').exec(response)?.[1] ?? '';

describe('an inserted cookie', () => {
  test('binds a client to its target and is refreshed on every reply', async () => {
    const [a, b] = await Promise.all([named('a'), named('b')]);
    const { ask } = await serve([{ targets: [a, b], policy: { stickiness: { type: 'insert', seconds: 60 } } }]);
    const first = await ask(getAndClose());
    expect(first).toMatch(/^Set-Cookie: tgw_l7_route=[0-9a-f]{32}; Expires=[^;]+ GMT; Max-Age=60; Path=\/\r$/m);
    const cookie = cookieFrom(first);
    for (let index = 0; index < 6; index++) {
      const reply = await ask(getAndClose('/', `Cookie: x=1; tgw_l7_route=${cookie}\r\n`));
      expect(bodyOf(reply)).toBe(bodyOf(first));
      expect(cookieFrom(reply)).toMatch(/^[0-9a-f]{32}$/);
    }
  });

  test('cannot be made up or changed by a client', async () => {
    const [a, b] = await Promise.all([named('a'), named('b')]);
    const { ask } = await serve([{ targets: [a, b], policy: { stickiness: { type: 'insert' } } }]);
    const cookie = cookieFrom(await ask(getAndClose()));
    const later = (Number.parseInt(cookie.slice(16, 24), 16) + 1).toString(16);
    const changed = [cookie.replace(/.$/, (digit) => (digit === '0' ? '1' : '0')), 'f'.repeat(32), 'x'];
    changed.push(cookie.slice(0, 16) + later + cookie.slice(24));
    for (const forged of changed) {
      const seen = new Set<string>();
      for (let index = 0; index < 4; index++) {
        seen.add(bodyOf(await ask(getAndClose('/', `Cookie: tgw_l7_route=${forged}\r\n`))));
      }
      expect(seen).toEqual(new Set(['a', 'b']));
    }
  });

  test('of a drained or lost target leads to another one and to a new cookie', async () => {
    const [a, b] = await Promise.all([named('a'), named('b')]);
    const rules = [{ targets: [a, b], policy: { stickiness: { type: 'insert' } } } satisfies RuleGiven];
    const { ask, proxy } = await serve(rules);
    const first = await ask(getAndClose());
    const cookie = cookieFrom(first);
    const next = await image(rules);
    const index = bodyOf(first) === 'a' ? 0 : 1;
    next.groups[0]!.targets[index]!.weight = 0;
    next.listeners[0]!.port = 0;
    await proxy.apply(next);
    const second = await ask(getAndClose('/', `Cookie: tgw_l7_route=${cookie}\r\n`));
    expect(bodyOf(second)).not.toBe(bodyOf(first));
    expect(cookieFrom(second).slice(0, 16)).not.toBe(cookie.slice(0, 16));

    next.groups[0]!.targets[index]!.weight = 1;
    await proxy.apply(next);
    await (index === 0 ? b : a).close();
    const third = await ask(getAndClose('/', `Cookie: tgw_l7_route=${cookieFrom(second)}\r\n`));
    expect(bodyOf(third)).toBe(bodyOf(first));
  });
});

test('a rewritten cookie carries the binding in front of the value that the target set', async () => {
  const seen: string[] = [];
  const target = (name: string): Promise<Origin> =>
    origin((head, peer) => {
      seen.push(/^cookie: (.*)\r$/im.exec(head)?.[1] ?? '');
      peer.write(
        `HTTP/1.1 200 OK\r\nSet-Cookie: SID=abc; Path=/x\r\nSet-Cookie: o=1\r\nContent-Length: 1\r\n\r\n${name}`,
      );
    });
  const [a, b] = await Promise.all([target('a'), target('b')]);
  const { ask } = await serve([{ targets: [a, b], policy: { stickiness: { type: 'rewrite', cookie: 'SID' } } }]);
  const first = await ask(getAndClose());
  expect(first).toMatch(/^Set-Cookie: SID=[0-9a-f]{32}~abc; Path=\/x\r$/m);
  expect(first).toContain('Set-Cookie: o=1\r\n');
  for (let index = 0; index < 4; index++) {
    const reply = await ask(getAndClose('/', `Cookie: x=y; SID=${cookieFrom(first, 'SID')}; z=1\r\n`));
    expect(bodyOf(reply)).toBe(bodyOf(first));
  }
  expect(seen.at(-1)).toBe('x=y; SID=abc; z=1');
});

test('stickiness by source keeps an address on one target', async () => {
  const [a, b] = await Promise.all([named('a'), named('b')]);
  const { ask } = await serve([{ targets: [a, b], policy: { stickiness: { type: 'source' } } }]);
  const all = new Set<string>();
  for (let host = 1; host < 12; host++) {
    const own = new Set<string>();
    for (let index = 0; index < 3; index++) own.add(bodyOf(await ask(getAndClose(), `127.0.4.${host}`)));
    expect(own.size).toBe(1);
    all.add([...own][0]!);
  }
  expect(all).toEqual(new Set(['a', 'b']));
});

describe('a redirect', () => {
  const location = (response: string): string => /^Location: (.*)\r$/m.exec(response)?.[1] ?? '';

  test('goes where its template says, with captures, and never to a host that the path names', async () => {
    const { ask } = await serve([
      { path: '/old', policy: { redirect: { code: 308, to: 'https://new.test$request_uri' } } },
      { path: '~^/u/([^/]+)/(.*)$', policy: { redirect: { code: 301, to: '/users/$1?p=$2&$args' } } },
      { path: '/p', policy: { redirect: { pattern: '^/p(.*)$', to: '/$1' } } },
    ]);
    const moved = await ask(getAndClose('/old/x?y=1'));
    expect([statusOf(moved), location(moved)]).toEqual([308, 'https://new.test/old/x?y=1']);
    const user = await ask(getAndClose('/u/%E4%B8%AD%0d%0aX:1/b?c=d'));
    expect([statusOf(user), location(user)]).toEqual([301, '/users/%E4%B8%AD%0D%0AX:1?p=b&c=d']);
    expect(user).not.toMatch(/^X:1/m);
    expect(location(await ask(getAndClose('/p/evil.test')))).toBe('/evil.test');
    expect(statusOf(await ask(getAndClose('/p')))).toBe(302);
  });

  test('sends every request of a plain listener to https', async () => {
    const { ask } = await serve([{ targets: [await okOrigin()] }], { redirectToHttps: { port: 8443 } });
    const reply = await ask('GET /a?b HTTP/1.1\r\nHost: A.test:80\r\nConnection: close\r\n\r\n');
    expect([statusOf(reply), location(reply)]).toEqual([301, 'https://a.test:8443/a?b']);
  });
});

test('a fixed response needs no target, and an error page stands in for an error of the proxy', async () => {
  const gone = await okOrigin();
  await gone.close();
  const { ask } = await serve([
    { path: '/fixed', policy: { respond: { status: 403, body: 'no', contentType: 'text/x' } } },
    { path: '/down', targets: [gone], policy: { errorPages: [{ codes: [502], status: 200, body: '<p>later' }] } },
    { path: '/away', targets: [gone], policy: { errorPages: [{ codes: [502], location: '/sorry' }] } },
  ]);
  const fixed = await ask(getAndClose('/fixed'));
  expect(fixed).toContain('HTTP/1.1 403 Forbidden\r\n');
  expect(fixed).toContain('Content-Type: text/x\r\n');
  expect(bodyOf(fixed)).toBe('no');
  const down = await ask(getAndClose('/down'));
  expect([statusOf(down), bodyOf(down)]).toEqual([200, '<p>later']);
  expect(down).toContain('X-Clb-Error: connect-refused\r\n');
  expect(await ask(getAndClose('/away'))).toMatch(/^HTTP\/1.1 302 [^]*\r\nLocation: \/sorry\r\n/);
});

test('the path for the target is rewritten with captures and keeps its query', async () => {
  let seen = '';
  const target = await origin((head, peer) => {
    seen = head.split('\r\n')[0]!;
    peer.write('HTTP/1.1 204 No Content\r\n\r\n');
  });
  const { ask } = await serve([{ targets: [target], policy: { rewrite: { pattern: '^/api/(.*)$', to: '/v2/$1' } } }]);
  await ask(getAndClose('/api/x%20y?q=1'));
  expect(seen).toBe('GET /v2/x%20y?q=1 HTTP/1.1');
  await ask(getAndClose('/other'));
  expect(seen).toBe('GET /other HTTP/1.1');
});

test('rules of one path are told apart by method, header, cookie, query, source and share', async () => {
  const names = ['plain', 'post', 'header', 'cookie', 'query', 'source', 'half'];
  const targets = await Promise.all(names.map(named));
  const [plain, post, header, cookie, query, source, half] = targets as [Origin, ...Origin[]] as Origin[];
  const { ask } = await serve([
    { targets: [half!], path: '/half', policy: { match: { percent: 50 } } },
    { targets: [plain!], path: '/half' },
    { targets: [post!], policy: { match: { order: 1, methods: ['POST'] } } },
    { targets: [header!], policy: { match: { order: 2, headers: [{ name: 'X-Canary', regex: '^v[0-9]$' }] } } },
    { targets: [cookie!], policy: { match: { order: 3, cookies: [{ name: 'beta', value: '1' }] } } },
    { targets: [query!], policy: { match: { order: 4, query: [{ name: 'q' }] } } },
    { targets: [source!], policy: { match: { order: 5, sources: ['127.0.5.0/24'] } } },
    { targets: [plain!] },
  ]);
  const to = async (bytes: string, from?: string): Promise<string> => bodyOf(await ask(bytes, from));
  expect(await to(getAndClose())).toBe('plain');
  expect(await to('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')).toBe('post');
  expect(await to(getAndClose('/', 'x-canary: v2\r\n'))).toBe('header');
  expect(await to(getAndClose('/', 'X-Canary: no\r\n'))).toBe('plain');
  expect(await to(getAndClose('/', 'Cookie: a=b; beta=1\r\n'))).toBe('cookie');
  expect(await to(getAndClose('/?q'))).toBe('query');
  expect(await to(getAndClose(), '127.0.5.9')).toBe('source');
  const shares = { half: 0, plain: 0 } as Record<string, number>;
  for (let index = 0; index < 60; index++) shares[await to(getAndClose('/half'))]!++;
  expect(shares['half']).toBeGreaterThan(10);
  expect(shares['plain']).toBeGreaterThan(10);
});

describe('limits', () => {
  test('a rate is a token bucket for each client; 429 says when to come again; a new image keeps the buckets', async () => {
    const rules = [
      {
        targets: [await okOrigin()],
        policy: { rates: [{ perSecond: 0.5, burst: 2, by: 'client' }] },
      } satisfies RuleGiven,
    ];
    const { ask, proxy } = await serve(rules);
    expect(statusOf(await ask(getAndClose()))).toBe(200);
    expect(statusOf(await ask(getAndClose()))).toBe(200);
    const over = await ask(getAndClose());
    expect(over).toMatch(/^HTTP\/1.1 429 [^]*\r\nRetry-After: 2\r\n/);
    expect(statusOf(await ask(getAndClose(), '127.0.6.1'))).toBe(200);
    await proxy.apply(await image(rules));
    expect(statusOf(await ask(getAndClose()))).toBe(429);
    expect(proxy.counters().failures['rate-limited']).toBe(2);
  });

  test('a rate by header counts those without it by address', async () => {
    const { ask } = await serve([{ targets: [await okOrigin()] }], {
      rates: [{ perSecond: 0.1, burst: 1, by: 'header', header: 'X-Key' }],
    });
    const key = (value: string): string => getAndClose('/', `x-key: ${value}\r\n`);
    expect(statusOf(await ask(key('a')))).toBe(200);
    expect(statusOf(await ask(key('a')))).toBe(429);
    expect(statusOf(await ask(key('b')))).toBe(200);
    expect(statusOf(await ask(getAndClose()))).toBe(200);
    expect(statusOf(await ask(getAndClose()))).toBe(429);
  });

  test('networks are allowed and denied', async () => {
    const { ask } = await serve([
      { targets: [await okOrigin()], policy: { allow: ['127.0.0.0/16'], deny: ['127.0.7.1'] } },
    ]);
    expect(statusOf(await ask(getAndClose()))).toBe(200);
    expect(statusOf(await ask(getAndClose(), '127.0.7.1'))).toBe(403);
    expect(statusOf(await ask(getAndClose(), '127.1.0.1'))).toBe(403);
  });

  test('header fields deny, and allow', async () => {
    const target = await okOrigin();
    const denied = { match: { headers: [{ name: 'user-agent', regex: '^BadBot/' }] }, respond: { status: 403 } };
    const holder = { match: { headers: [{ name: 'x-key', value: 'let-me-in' }] } };
    const { ask } = await serve([
      { path: '/open', policy: denied },
      { path: '/open', targets: [target] },
      { path: '/closed', targets: [target], policy: holder },
      { path: '/closed', policy: { respond: { status: 403 } } },
    ]);
    const statuses = async (path: string, ...fields: string[]): Promise<number[]> =>
      Promise.all(fields.map(async (field) => statusOf(await ask(getAndClose(path, field)))));
    expect(await statuses('/open', 'User-Agent: BadBot/1.0\r\n', 'User-Agent: good\r\n', '')).toEqual([403, 200, 200]);
    expect(await statuses('/closed', 'X-Key: let-me-in\r\n', 'X-Key: let-me\r\n', '')).toEqual([200, 403, 403]);
  });

  test('a body larger than the rule allows is 413, by its length and by its chunks', async () => {
    const { ask } = await serve([{ targets: [await okOrigin()], policy: { bodyBytesMax: 4 } }]);
    const post = (fields: string, body: string): string => `POST / HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`;
    expect(statusOf(await ask(post('Content-Length: 5', 'aaaaa')))).toBe(413);
    expect(statusOf(await ask(post('Transfer-Encoding: chunked', '5\r\naaaaa\r\n0\r\n\r\n')))).toBe(413);
    expect(statusOf(await ask(post('Connection: close\r\nContent-Length: 4', 'aaaa')))).toBe(200);
  });
});

test('header fields of requests and responses are set, added and removed; Forwarded cannot be forged', async () => {
  let seen = '';
  const target = await origin((head, peer) => {
    seen = head;
    peer.write('HTTP/1.1 200 OK\r\nServer: x\r\nX-Old: 1\r\nContent-Length: 2\r\n\r\nok');
  });
  const { ask, port } = await serve(
    [
      {
        targets: [target],
        policy: {
          requestHeaders: [
            { action: 'set', name: 'X-Real-Port', value: '$remote_port' },
            { action: 'set', name: 'X-Method', value: '$request_method $uri' },
            { action: 'remove', name: 'X-Gone' },
          ],
          responseHeaders: [
            { action: 'remove', name: 'server' },
            { action: 'set', name: 'x-old', value: '2' },
            { action: 'add', name: 'X-New', value: 'a b' },
          ],
        },
      },
    ],
    { forwarded: true },
  );
  const reply = await ask(
    getAndClose('/p?q', 'x-real-port: 1\r\nX-GONE: 1\r\nForwarded: for=6.6.6.6\r\nX-Keep: 1\r\n'),
  );
  expect(seen).toMatch(/^X-Real-Port: \d{2,5}\r$/m);
  expect(seen.match(/x-real-port/gi)).toHaveLength(1);
  expect(seen).toContain('X-Method: GET /p\r\n');
  expect(seen).not.toMatch(/x-gone|6\.6\.6\.6/i);
  expect(seen).toContain('X-Keep: 1\r\n');
  expect(seen).toContain('Forwarded: for=127.0.0.1;by=127.0.0.1;host="a.test";proto=http\r\n');
  expect(reply).not.toMatch(/^server/im);
  expect(reply.match(/^x-old: .*$/gim)).toEqual(['x-old: 2']);
  expect(reply).toContain('X-New: a b\r\n');
  expect(bodyOf(reply)).toBe('ok');
  expect(port).toBeGreaterThan(0);
});

test('a hash of the path sends the same path to the same target', async () => {
  const [a, b] = await Promise.all([named('a'), named('b')]);
  const { ask } = await serve([{ targets: [a, b], scheduler: 'maglev', policy: { hash: { by: 'path' } } }]);
  const seen = new Map<string, string>();
  for (let round = 0; round < 2; round++) {
    for (let index = 0; index < 12; index++) {
      const body = bodyOf(await ask(getAndClose(`/p${index}?r=${round}`)));
      expect(seen.get(`/p${index}`) ?? body).toBe(body);
      seen.set(`/p${index}`, body);
    }
  }
  expect(new Set(seen.values()).size).toBe(2);
});

test('power of two choices leaves a target that answers slowly', async () => {
  const fast = await named('fast');
  const slow = await origin((_, peer) => {
    setTimeout(() => peer.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow'), 40);
  });
  const { port } = await serve([{ targets: [fast, slow], scheduler: 'p2c' }]);
  const client = await connect(port);
  for (let index = 1; index <= 20; index++) {
    client.write(get());
    await client.counts(/HTTP\/1.1 200/g, index);
  }
  expect(client.text.match(/fast/g)!.length).toBeGreaterThan(14);
});

describe('connections', () => {
  test('over the limit of a listener or of a client are closed, and those that end make room', async () => {
    const { ask, port, proxy } = await serve([{ targets: [await okOrigin()] }], {
      connectionsMax: 3,
      connectionsPerClientMax: 2,
    });
    const first = await connect(port);
    await connect(port);
    first.write(get());
    await first.has('200 OK');
    expect(await ask(getAndClose())).toBe('');
    const other = await connect(port, { localAddress: '127.0.8.1' });
    other.write(get());
    await other.has('200 OK');
    expect(await ask(getAndClose(), '127.0.8.2')).toBe('');
    expect(proxy.counters().failures).toMatchObject({ 'client-full': 1, 'listener-full': 1 });
    first.socket.destroy();
    await sleep(30);
    expect(statusOf(await ask(getAndClose()))).toBe(200);
  });

  test('tell the client by a PROXY header of version 1 or 2, from trusted senders only', async () => {
    let seen = '';
    const target = await origin((head, peer) => {
      seen = /^X-Real-IP: (.*)\r$/m.exec(head)?.[1] ?? '';
      peer.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
    const { ask, port, proxy } = await serve([{ targets: [target] }], { proxyProtocolFrom: ['127.0.9.0/24'] });
    const sender = '127.0.9.1';
    expect(statusOf(await ask(`PROXY TCP4 198.51.100.7 203.0.113.1 4000 80\r\n${getAndClose()}`, sender))).toBe(200);
    expect(seen).toBe('198.51.100.7');
    const endpoints = { clientAddress: '2001:db8::7', clientPort: 4000, vip: '2001:db8::1', vport: 80 };
    const header = proxyHeader('v2', endpoints).toString('latin1');
    const slow = await connect(port, { localAddress: sender });
    for (const byte of header) {
      slow.write(byte);
      await sleep(1);
    }
    slow.write(getAndClose());
    await slow.has('200 OK');
    expect(seen).toBe('2001:db8::7');
    expect(statusOf(await ask(`PROXY UNKNOWN\r\n${getAndClose()}`, sender))).toBe(200);
    expect(seen).toBe(sender);
    expect(await ask(getAndClose(), sender)).toBe('');
    expect(await ask(`PROXY TCP4 1.2.3.4 x 1 2\r\n${getAndClose()}`, sender)).toBe('');
    expect(statusOf(await ask(`PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n${getAndClose()}`))).toBe(400);
    expect(statusOf(await ask(getAndClose()))).toBe(200);
    expect(proxy.counters().failures['proxy-header-bad']).toBe(2);
  });
});

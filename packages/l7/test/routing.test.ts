// Routing: domains and paths as Tencent has them (tencent-cloud.md E3), schedulers (E2), and images swapped under traffic.
import { array, assert, constantFrom, property, string, uniqueArray } from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ProxyImage } from '@openclb/model';
import { foldCase, linearRegex } from '../src/regex.ts';
import { BAD_PATH, normalHost, normalPath, RouteTable } from '../src/routes.ts';
import { imageOf, stableId } from '../src/simple.ts';
import { ImageRefused } from '../src/index.ts';
import { connect, get, getAndClose, OK, okOrigin, origin, type Origin, sleep, start, statusOf } from './kit.ts';

const table = (...rules: [domain: string, path: string, isDefault?: boolean][]) =>
  new RouteTable(rules.map(([domain, path, isDefault = false]) => ({ domain, path, isDefault })));

const found = (routes: ReturnType<typeof table>, host: string, path: string): string => {
  const match = routes.find(host, path);
  if (match === null) return '404';
  if (match === BAD_PATH) return '400';
  return match.redirectPath === undefined ? `${match.rule.domain} ${match.rule.path}` : `301 ${match.redirectPath}`;
};

describe('a domain', () => {
  const routes = table(
    ['a.test', '/'],
    ['*.test', '/'],
    ['*.b.test', '/'],
    ['www.*', '/'],
    ['www.c.*', '/'],
    ['~^r\\d+\\.test\\.org$', '/'],
    ['default.test', '/', true],
  );
  test.each([
    ['a.test', 'a.test /'],
    ['A.TEST:8080', 'a.test /'],
    ['a.test.', 'a.test /'],
    ['x.a.test', '*.test /'],
    ['x.y.b.test', '*.b.test /'],
    ['b.test', '*.test /'],
    ['www.org', 'www.* /'],
    ['www.c.org', 'www.c.* /'],
    ['www.test', '*.test /'],
    ['r12.test.org', '~^r\\d+\\.test\\.org$ /'],
    ['R12.test.org', '~^r\\d+\\.test\\.org$ /'],
    ['nobody.org', 'default.test /'],
    ['203.0.113.10', 'default.test /'],
    ['[2001:db8::1]:80', 'default.test /'],
  ])('%s is taken by %s', (host, rule) => {
    expect(found(routes, host, '/')).toBe(rule);
  });

  test('that is unknown, without a default domain, is 404', () => {
    expect(found(table(['a.test', '/']), 'b.test', '/')).toBe('404');
  });
});

describe('a path', () => {
  const routes = table(
    ['', '/'],
    ['', '=/exact'],
    ['', '/abc/'],
    ['', '/a'],
    ['', '/dir'],
    ['', '/dir/'],
    ['', '^~ /static/'],
    ['', '~\\.php$'],
    ['', '~* ^/IMG/.*\\.png$'],
    ['', '/long/er/'],
    ['', '/long/er/est/'],
    ['', '/中文/'],
  );
  test.each([
    ['/', ' /'],
    ['/exact', ' =/exact'],
    ['/exact/', ' /'],
    ['/exact?x=1', ' =/exact'],
    ['/abc', '301 /abc/'],
    ['/abc/', ' /abc/'],
    ['/abcd', ' /a'],
    ['/dir', ' /dir'],
    ['/dir/x', ' /dir/'],
    ['/static/x.php', ' ^~ /static/'],
    ['/x.php', ' ~\\.php$'],
    ['/x.PHP', ' /'],
    ['/img/X.PNG', ' ~* ^/IMG/.*\\.png$'],
    ['/long/er/est/x', ' /long/er/est/'],
    ['/long/er/x', ' /long/er/'],
    ['/%61%62c/x', ' /abc/'],
    ['/x/../abc/y', ' /abc/'],
    ['/x//abc/', ' /'],
    ['//abc//y', ' /abc/'],
    ['/abc/./..//abc/', ' /abc/'],
    ['/%2e%2e/x', '400'],
    ['/../x', '400'],
    ['/%zz', '400'],
    ['/%00', '400'],
    ['/%E4%B8%AD%E6%96%87/x', ' /中文/'],
  ])('%s is taken by %s', (path, rule) => {
    expect(found(routes, 'a.test', path)).toBe(rule);
  });

  test('is found alike by a few prefixes and by many', () => {
    const segment = constantFrom('a', 'b', 'ab', 'c');
    const path = array(segment, { maxLength: 4 }).map((parts) => `/${parts.join('/')}`);
    assert(
      property(uniqueArray(path, { minLength: 1, maxLength: 40 }), path, (prefixes, asked) => {
        const match = table(...prefixes.map((prefix): [string, string] => ['', prefix])).find('x', `${asked}?q`);
        const longest = prefixes.filter((prefix) => asked.startsWith(prefix)).sort((a, b) => b.length - a.length)[0];
        expect(match === null || match === BAD_PATH ? undefined : match.rule.path).toBe(longest);
      }),
    );
  });

  test('is normalised once and for all, and never leaves the root', () => {
    assert(
      property(string({ unit: constantFrom('/', '.', 'a', '%2e', '%2F', '?') }), (text) => {
        const path = normalPath(`/${text}`);
        if (path === null) return;
        expect(path.startsWith('/')).toBe(true);
        expect(path).not.toMatch(/\/\/|\/\.\.?(?:\/|$)/);
        expect(normalPath(path)).toBe(path);
      }),
    );
  });
});

test('a host is folded to its name', () => {
  expect(['A.b', 'a.B:80', 'a.b.', 'a.b.:80'].map(normalHost)).toEqual(['a.b', 'a.b', 'a.b', 'a.b']);
  expect(normalHost('[2001:DB8::1]:443')).toBe('[2001:db8::1]');
});

test('a regex runs in linear time or is refused', () => {
  const evil = linearRegex('^(a+)+$', false);
  const startedAt = performance.now();
  expect(evil.test(`${'a'.repeat(10_000)}b`)).toBe(false);
  expect(performance.now() - startedAt).toBeLessThan(1000);
  expect(foldCase('^(?<n>Ab)[x-zQ_]\\d\\D(?:c|\\x41)$')).toBe('^(?<n>[aA][bB])[x-zX-ZqQ_]\\d\\D(?:[cC]|\\x41)$');
  expect(linearRegex('^ab[x-z]$', true).test('aBY')).toBe(true);
  expect(() => linearRegex('(a)\\1', false)).toThrow(/linear time/);
});

/** A target that answers with its name. */
const named = (name: string): Promise<Origin> =>
  origin((_, peer) => void peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${name.length}\r\n\r\n${name}`));
const bodyOf = (response: string): string => response.slice(response.indexOf('\r\n\r\n') + 4);

describe('on the wire', () => {
  test('requests go by domain and path; what is unknown is 404; a directory without its slash is redirected', async () => {
    const [a, b, c] = await Promise.all([named('a'), named('b'), named('c')]);
    const { ask } = await start({
      routes: [
        { domain: 'a.test', path: '/', targets: [a.url] },
        { domain: 'a.test', path: '/abc/', targets: [b.url] },
        { domain: '*.test', targets: [c.url] },
      ],
    });
    const from = async (host: string, path: string): Promise<string> =>
      ask(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    expect(bodyOf(await from('a.test', '/'))).toBe('a');
    expect(bodyOf(await from('a.test', '/abc/x'))).toBe('b');
    expect(bodyOf(await from('b.test:80', '/abc'))).toBe('c');
    expect(statusOf(await from('a.org', '/'))).toBe(404);
    expect(await from('a.test', '/abc?x=1')).toMatch(/^HTTP\/1\.1 301 .*\r\nLocation: \/abc\/\?x=1\r\n/s);
    expect(await from('a.test', '/%2e%2e/')).toMatch(/^HTTP\/1\.1 400 /);
    expect(bodyOf(await ask('GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n'))).toBe('c');
  });

  test('weights are kept exactly and smoothly', async () => {
    const [a, b, c] = await Promise.all([named('a'), named('b'), named('c')]);
    const { ask } = await start({
      targets: [
        { url: a.url, weight: 5 },
        { url: b.url, weight: 1 },
        { url: c.url, weight: 1 },
      ],
    });
    let order = '';
    for (let round = 0; round < 14; round++) order += bodyOf(await ask(getAndClose()));
    expect(order).toBe('aabacaaaabacaa');
  });

  test('least-connections avoids the busy target and counts tunnels', async () => {
    const [a, b] = await Promise.all([origin(), named('b')]);
    const { ask, client } = await start({ targets: [a.url, b.url], scheduler: 'least-connections' });
    const busy = await client();
    busy.write(get());
    await a.connection();
    for (let round = 0; round < 5; round++) expect(bodyOf(await ask(getAndClose()))).toBe('b');
  });

  test.each(['ip-hash', 'maglev'] as const)(
    '%s keeps a client at its target and spreads clients',
    async (scheduler) => {
      const targets = await Promise.all(['a', 'b', 'c', 'd'].map(named));
      const { port } = await start({ targets: targets.map(({ url }) => url), scheduler });
      const answers = new Map<string, Set<string>>();
      for (let round = 0; round < 3; round++) {
        for (let host = 1; host <= 20; host++) {
          const peer = await connect(port, { localAddress: `127.0.1.${host}` });
          peer.write(getAndClose());
          await peer.ended();
          const seen = answers.get(`${host}`) ?? new Set();
          answers.set(`${host}`, seen.add(bodyOf(peer.text)));
        }
      }
      expect([...answers.values()].every((seen) => seen.size === 1)).toBe(true);
      expect(new Set([...answers.values()].flatMap((seen) => [...seen])).size).toBeGreaterThan(2);
    },
  );

  test('a target of weight 0 gets nothing', async () => {
    const [a, b] = await Promise.all([named('a'), named('b')]);
    const { ask } = await start({ targets: [{ url: a.url, weight: 0 }, b.url] });
    for (let round = 0; round < 4; round++) expect(bodyOf(await ask(getAndClose()))).toBe('b');
  });
});

describe('an image', () => {
  const imageWith = async (
    url: string,
    change: (image: ProxyImage) => void = () => {},
    host = '127.0.0.1',
    port = 0,
  ) => {
    const image = await imageOf({ listen: { host, port }, targets: [url] });
    change(image);
    return image;
  };

  test('is swapped without closing a connection, a pool or a tunnel', async () => {
    const [a, b] = await Promise.all([named('a'), named('b')]);
    const { proxy, client } = await start({ targets: [a.url] });
    const upgraded = await origin();
    const idle = await client();
    idle.write(get());
    expect(bodyOf((await idle.has(/a$/)).take())).toBe('a');
    await proxy.apply(await imageWith(upgraded.url, undefined));
    const tunnel = await client();
    tunnel.write(get('/', 'Connection: Upgrade\r\nUpgrade: x\r\n'));
    const far = await upgraded.connection();
    await far.has('\r\n\r\n');
    far.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n');
    await tunnel.has('101');
    await proxy.apply(await imageWith(b.url));
    idle.write(get());
    expect(bodyOf((await idle.has(/b$/)).take())).toBe('b');
    tunnel.write('still here');
    await far.has('still here');
    await proxy.apply(await imageWith(a.url));
    idle.write(get());
    expect(bodyOf((await idle.has(/a$/)).take())).toBe('a');
  });

  test('that changes a weight keeps the pool of its target', async () => {
    const a = await named('a');
    const { proxy, ask } = await start({ targets: [a.url] });
    await ask(getAndClose());
    await proxy.apply(await imageWith(a.url, (image) => void (image.groups[0]!.targets[0]!.weight = 7)));
    await ask(getAndClose());
    expect(a.peers).toHaveLength(1);
    await proxy.apply(
      await imageWith(
        a.url,
        (image) =>
          void ((image.targets[0]!.id = stableId('another target')),
          (image.groups[0]!.targets[0]!.target = stableId('another target'))),
      ),
    );
    await ask(getAndClose());
    expect(a.peers).toHaveLength(2);
    await a.peers[0]!.ended();
  });

  test('that is broken is refused with a reason and the one before keeps serving', async () => {
    const a = await okOrigin();
    const { proxy, ask } = await start({ targets: [a.url] });
    const breakages: ((image: ProxyImage) => void)[] = [
      (image) => void (image.groups[0]!.targets[0]!.target = stableId('nobody')),
      (image) => void (image.listeners[0]!.rules[0]!.group = stableId('nobody')),
      (image) => void (image.listeners[0]!.rules[0]!.domain = '~(a)\\1'),
      (image) => void image.listeners.push({ ...image.listeners[0]!, id: stableId('second') }),
      (image) => void (image.listeners[0]!.protocol = 'https'),
      (image) => void (image.listeners[0]!.protocol = 'tcp'),
      (image) => void ((image as unknown as Record<string, unknown>)['surprise'] = 1),
      (image) => void (image.listeners[0]!.port = 70_000),
    ];
    for (const change of breakages) {
      await expect(imageWith(a.url, change).then((image) => proxy.apply(image))).rejects.toThrow(ImageRefused);
    }
    const taken = await okOrigin();
    await expect(
      imageWith(a.url, undefined, '127.0.0.1', taken.port).then((image) => proxy.apply(image)),
    ).rejects.toThrow('EADDRINUSE');
    expect(statusOf(await ask(getAndClose()))).toBe(200);
  });

  test('that drops a listener ends its connections after their answer', async () => {
    const slow = await origin((_, peer) => void setTimeout(() => peer.write(OK), 100));
    const { proxy, client, port } = await start({ targets: [slow.url] });
    const peer = await client();
    peer.write(get());
    await slow.connection();
    await proxy.apply(await imageWith(slow.url, (image) => void (image.listeners = [])));
    await peer.ended();
    expect(peer.text).toMatch(/^HTTP\/1\.1 200 .*Connection: close\r\n\r\nok$/s);
    await expect(connect(port)).rejects.toThrow('ECONNREFUSED');
  });

  test('with two VIPs on one port is told apart by the address that was called; another address is nobody', async () => {
    const [a, b] = await Promise.all([named('a'), named('b')]);
    const { proxy } = await start({ targets: [a.url], bind: 'wildcard', listen: { host: '127.0.2.1', port: 0 } });
    const { port } = proxy.addresses()[0]!;
    await proxy.apply(
      await imageWith(
        a.url,
        (image) => {
          const second = structuredClone(image.listeners[0]!);
          image.targets.push({ ...image.targets[0]!, id: stableId('b'), port: b.port });
          image.groups.push({
            ...image.groups[0]!,
            id: stableId('group b'),
            targets: [{ target: stableId('b'), weight: 1 }],
          });
          second.vips = ['127.0.2.2'];
          second.id = stableId('second');
          second.rules[0]!.group = stableId('group b');
          image.listeners.push(second);
        },
        '127.0.2.1',
        port === 0 ? 0 : await freePort(),
      ),
    );
    const { port: now } = proxy.addresses()[0]!;
    expect(proxy.addresses()).toHaveLength(1);
    const from = async (host: string): Promise<string> => {
      const peer = await connect(now, { host });
      peer.write(getAndClose());
      await peer.ended();
      return bodyOf(peer.text);
    };
    expect(await from('127.0.2.1')).toBe('a');
    expect(await from('127.0.2.2')).toBe('b');
    expect(await from('127.0.2.3')).toBe('');
    expect(proxy.counters().failures['vip-unknown']).toBe(1);
  });

  test('of 10,000 rules is applied within a second and routes at once', async () => {
    const a = await named('a');
    const { proxy, ask } = await start({ targets: [a.url] });
    const image = await imageWith(a.url, ({ listeners: [listener] }) => {
      const [rule] = listener!.rules;
      listener!.rules = Array.from({ length: 10_000 }, (_, index) => ({
        ...rule!,
        id: stableId(`rule ${index}`),
        domain: `d${index % 100}.test`,
        path: `/p${index}/`,
      }));
    });
    const startedAt = performance.now();
    await proxy.apply(image);
    // The promise is one second; a busy machine is given more.
    expect(performance.now() - startedAt).toBeLessThan(3000);
    expect(bodyOf(await ask('GET /p4242/x HTTP/1.1\r\nHost: d42.test\r\nConnection: close\r\n\r\n'))).toBe('a');
    expect(statusOf(await ask('GET /p4242/x HTTP/1.1\r\nHost: d41.test\r\nConnection: close\r\n\r\n'))).toBe(404);
  });

  test('tells readiness on its own port', async () => {
    const a = await okOrigin();
    const { proxy } = await start({ targets: [a.url], readyHost: '127.0.0.1' });
    const port = await freePort();
    await proxy.apply(await imageWith(a.url, (image) => void (image.readyPort = port)));
    expect(proxy.readyPort).toBe(port);
    expect((await fetch(`http://127.0.0.1:${port}/ready`)).status).toBe(200);
    expect((await fetch(`http://127.0.0.1:${port}/else`)).status).toBe(404);
  });

  test('is explained as it acts', async () => {
    const [a, b] = await Promise.all([named('a'), named('b')]);
    const { proxy, port } = await start({
      routes: [{ domain: 'a.test', path: '/abc/', targets: [a.url, { url: b.url, weight: 0 }] }],
    });
    const about = proxy.explain({ port: 0, host: 'a.test', target: '/abc/x' });
    expect(about.status).toBeNull();
    expect(about.candidates.map(({ target }) => target)).toEqual([`127.0.0.1:${a.port}`]);
    expect(proxy.explain({ port: 0, host: 'a.test', target: '/abc' }).status).toBe(301);
    expect(proxy.explain({ port: 0, host: 'b.test', target: '/abc' }).status).toBe(404);
    expect(proxy.explain({ port: port + 1, host: 'b.test', target: '/abc' }).listener).toBeNull();
  });
});

async function freePort(): Promise<number> {
  const target = await origin();
  await target.close();
  await sleep(1);
  return target.port;
}

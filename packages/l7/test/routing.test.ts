// Routing: domains and paths as Tencent has them (tencent-cloud.md E3), schedulers (E2), on the wire and as tables.
import { array, assert, constantFrom, property, string, uniqueArray } from 'fast-check';
import { describe, expect, test } from 'vitest';
import { foldCase, linearRegex } from '../src/regex.ts';
import { BAD_PATH, normalHost, normalPath, RouteTable } from '../src/routes.ts';
import { bodyOf, connect, get, getAndClose, named, origin, start, statusOf } from './kit.ts';

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

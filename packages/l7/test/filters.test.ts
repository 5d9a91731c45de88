// Filters: failure policy, deadline and concurrency budget; and the examples as their users would load them.
import { createHmac } from 'node:crypto';
import { createPluginHost, type L7Filter, type Plugin } from '@openclb/model';
import { describe, expect, test } from 'vitest';
import { abSplit } from '../examples/ab-split.ts';
import { headerRewrite } from '../examples/header-rewrite.ts';
import { jwtCheck } from '../examples/jwt-check.ts';
import { bodyOf, getAndClose, okOrigin, origin, sleep, start, statusOf } from './kit.ts';

const filtersOf = async (plugin: Plugin): Promise<readonly L7Filter[]> =>
  (await createPluginHost([plugin], { onError: (_, error) => expect.unreachable(String(error)) })).extensions('filter');

describe('a filter', () => {
  test('without a promise leaves the request in the turn in which it came', async () => {
    const target = await okOrigin();
    const order: string[] = [];
    const sync: L7Filter = {
      name: 'sync',
      request: () => void (order.push('hook'), queueMicrotask(() => order.push('tick'))),
    };
    const second: L7Filter = { name: 'second', request: () => void order.push('second') };
    const { ask } = await start({ targets: [target.url], filters: [sync, second] });
    expect(statusOf(await ask(getAndClose()))).toBe(200);
    expect(order).toEqual(['hook', 'second', 'tick']);
  });

  test('that fails, is late or has too much to do refuses the request, or goes unheard where it is open', async () => {
    const target = await okOrigin();
    for (const [onFailure, statuses] of [
      ['closed', [500, 504, 503]],
      ['open', [200, 200, 200]],
    ] as const) {
      let release = (): void => {};
      const held = new Promise<void>((resolve) => (release = resolve));
      const filter: L7Filter = {
        name: 'f',
        onFailure,
        timeoutMs: 50,
        concurrencyMax: 1,
        async request(request) {
          request.headers.push(['x-half-done', 'yes']);
          if (request.target === '/throw') throw new Error('no');
          await held;
          request.target = '/late';
        },
      };
      const { ask, proxy } = await start({ targets: [target.url], filters: [filter] });
      const thrown = statusOf(await ask(getAndClose('/throw')));
      const late = ask(getAndClose('/hang'));
      await sleep(10);
      const busy = statusOf(await ask(getAndClose('/busy')));
      expect([thrown, statusOf(await late), busy]).toEqual(statuses);
      // A late hook still holds its place.
      expect(statusOf(await ask(getAndClose('/again')))).toBe(onFailure === 'open' ? 200 : 503);
      release();
      await sleep(10);
      const counted = onFailure === 'open' ? { 'filter-busy-open': 2, 'filter-timeout-open': 1 } : { 'filter-busy': 2 };
      expect(proxy.counters().failures).toMatchObject(counted);
    }
    const read = target.peers.map(({ text }) => text).join('');
    expect(read).not.toContain('x-half-done');
    expect(read).not.toContain('/late');
  });

  test('on responses works on a copy when it is open', async () => {
    const target = await okOrigin();
    const filter: L7Filter = {
      name: 'f',
      onFailure: 'open',
      response(response) {
        response.headers.push(['x-evil', 'a\r\nb: c']);
      },
    };
    const { ask } = await start({ targets: [target.url], filters: [filter] });
    const response = await ask(getAndClose());
    expect(statusOf(response)).toBe(200);
    expect(response).not.toContain('evil');
  });
});

describe('example', () => {
  const token = (claims: object, alg = 'HS256', secret = 's3cret'): string => {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const signed = `${part({ alg, typ: 'JWT' })}.${part(claims)}`;
    return `Authorization: Bearer ${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}\r\n`;
  };

  test('jwt-check lets valid tokens through and tells the target who it is', async () => {
    const target = await okOrigin();
    const filters = await filtersOf(jwtCheck({ secret: 's3cret', now: () => 1000 }));
    const { ask } = await start({ targets: [target.url], filters });
    const status = async (field: string): Promise<number> => statusOf(await ask(getAndClose('/', field)));
    expect(await status(token({ sub: 'ann', exp: 1001 }) + 'X-User: root\r\n')).toBe(200);
    for (const field of [
      '',
      token({ sub: 'ann', exp: 999 }),
      token({ sub: 'ann' }),
      token({ sub: 'ann', exp: 1001 }, 'none'),
      token({ sub: 'ann', exp: 1001 }, 'HS256', 'other'),
      'Authorization: Bearer a.b.c\r\n',
    ]) {
      expect(await status(field)).toBe(401);
    }
    expect(target.peers).toHaveLength(1);
    expect(target.peers[0]!.text.match(/^x-user: .*$/gim)).toEqual(['x-user: ann']);
  });

  test('header-rewrite edits fields both ways', async () => {
    const target = await origin(
      (_, peer) =>
        void peer.write('HTTP/1.1 302 Found\r\nLocation: http://db.internal:81/x\r\nContent-Length: 0\r\n\r\n'),
    );
    const filters = await filtersOf(
      headerRewrite([
        { of: 'request', name: 'x-version', pattern: /^v/, to: '' },
        { of: 'response', name: 'location', pattern: /^https?:\/\/[^/]*\.internal(?::\d+)?/, to: '' },
      ]),
    );
    const { ask } = await start({ targets: [target.url], filters });
    expect(await ask(getAndClose('/', 'X-Version: v12\r\n'))).toMatch(/^location: \/x\r$/im);
    expect(target.peers[0]!.text).toMatch(/^x-version: 12\r$/im);
  });

  test('ab-split keeps a client on its side by a cookie and splits by the share', async () => {
    const target = await origin((head, peer) => {
      const variant = /^x-variant: (\w)/im.exec(head)?.[1] ?? '?';
      peer.write(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${variant}`);
    });
    const filters = await filtersOf(abSplit({ share: 0.5 }));
    const { ask } = await start({ targets: [target.url], filters });
    const seen = { a: 0, b: 0 };
    for (let round = 0; round < 40; round++) {
      const first = await ask(getAndClose('/', 'X-Variant: b\r\n'));
      const variant = bodyOf(first) as 'a' | 'b';
      seen[variant]++;
      const cookie = /^set-cookie: (ab=[0-9a-f-]{36});/im.exec(first)![1]!;
      const again = await ask(getAndClose('/', `Cookie: x=1; ${cookie}\r\n`));
      expect(bodyOf(again)).toBe(variant);
      expect(again).not.toMatch(/set-cookie/i);
    }
    expect(Math.min(seen.a, seen.b)).toBeGreaterThan(3);
  });
});

// explainRequest: what it says is what the proxy then does, and asking changes nothing.
import type { ListenerPolicy, RulePolicy } from '@openclb/model';
import { expect, onTestFinished, test } from 'vitest';
import { createProxy, type Proxy } from '../src/index.ts';
import { imageOf } from '../src/simple.ts';
import { bodyOf, connect, get, getAndClose, named, type Origin, statusOf } from './kit.ts';

async function serve(
  rules: readonly { path: string; domain?: string; targets: readonly Origin[]; policy?: RulePolicy }[],
  listener?: ListenerPolicy,
): Promise<{ proxy: Proxy; port: number; ask: (bytes: string) => Promise<string> }> {
  const routes = rules.map(({ path, domain = '', targets }) => ({
    path,
    domain,
    targets: targets.map(({ url }) => url),
  }));
  const image = await imageOf({ listen: 0, routes });
  rules.forEach(({ policy }, index) => policy && (image.listeners[0]!.rules[index]!.policy = policy));
  if (listener !== undefined) image.listeners[0]!.policy = listener;
  const proxy = await createProxy({ bind: 'vips', stickinessKey: 'k', limits: { drainMs: 50, lingerMs: 200 } });
  onTestFinished(() => proxy.close());
  await proxy.apply(image);
  const { port } = proxy.addresses()[0]!;
  const ask = async (bytes: string): Promise<string> => {
    const peer = await connect(port);
    peer.write(bytes);
    await peer.ended();
    return peer.text;
  };
  return { proxy, port, ask };
}

const textOf = ({ steps }: { steps: readonly { text: string }[] }): string => steps.map(({ text }) => text).join('\n');

test('the target that it names is the one that the next request reaches, and asking moves no scheduler', async () => {
  const targets = await Promise.all(['one', 'two', 'three'].map(named));
  const { proxy, ask } = await serve([{ path: '/', targets }]);
  for (let round = 0; round < 6; round++) {
    const told = [1, 2, 3].map(() => proxy.explainRequest({ method: 'GET', url: 'http://a.test:0/x' }).reason);
    expect(new Set(told).size).toBe(1);
    const reached = targets.find(({ port }) => told[0] === `127.0.0.1:${port}`)!;
    const name = ['one', 'two', 'three'][targets.indexOf(reached)];
    expect(bodyOf(await ask(getAndClose('/x')))).toBe(name);
  }
});

test('conditions, limits, rewriting and the head for the target are told, and match what the target then reads', async () => {
  const [a, b] = await Promise.all([named('a'), named('b')]);
  const { proxy, ask } = await serve([
    { path: '/app/', domain: 'a.test', targets: [a] },
    {
      path: '/app/',
      domain: 'a.test',
      targets: [b],
      policy: {
        match: { cookies: [{ name: 'user', value: '7' }] },
        rates: [{ perSecond: 1, burst: 1, by: 'client' }],
        rewrite: { pattern: '^/app/(.*)', to: '/v2/$1' },
        requestHeaders: [{ action: 'set', name: 'X-Canary', value: 'yes' }],
      },
    },
  ]);
  const question = {
    method: 'GET',
    url: 'http://a.test/app/x?q=1',
    headers: [
      ['Cookie', 'user=7'],
      ['Connection', 'close'],
    ] as const,
    client: '127.0.0.1',
  };
  for (let round = 0; round < 3; round++) {
    const about = proxy.explainRequest({ ...question, url: 'http://a.test:0/app/x?q=1' });
    expect(about.verdict).toBe('forward');
    expect(textOf(about)).toContain('conditions of route-2 hold: {"cookies":[{"name":"user","value":"7"}]}');
    expect(textOf(about)).toContain('limited to 1 requests a second, 1 at once, for each client');
  }
  const about = proxy.explainRequest({ ...question, url: 'http://a.test:0/app/x?q=1' });
  const head = about.steps.find(({ data }) => 'head' in data)!.data['head'] as string[];
  expect(head[0]).toBe('GET /v2/x?q=1 HTTP/1.1');
  expect(bodyOf(await ask(getAndClose('/app/x?q=1', 'Cookie: user=7\r\n')))).toBe('b');
  const read = b.peers[0]!.text.trimEnd().split('\r\n');
  // The port is that of the question's URL.
  expect(read.filter((line) => !line.startsWith('Host:'))).toEqual(head.filter((line) => !line.startsWith('Host:')));
  const without = proxy.explainRequest({ method: 'GET', url: 'http://a.test:0/app/x' });
  expect(textOf(without)).toContain('conditions of route-2 do not hold');
  expect(without.reason).toBe(`127.0.0.1:${a.port}`);
});

test('what answers or refuses instead of a target is told with its status', async () => {
  const target = await named('a');
  const { proxy, ask } = await serve(
    [
      { path: '/dir/', targets: [target] },
      { path: '/gone', targets: [target], policy: { respond: { status: 410 } } },
    ],
    { deny: ['10.0.0.0/8'] },
  );
  const explain = (path: string, client = '127.0.0.1', method = 'GET'): string =>
    proxy.explainRequest({ method, url: `http://a.test:0${path}`, client }).reason;
  expect(explain('/dir')).toBe('301');
  expect(explain('/gone')).toBe('410');
  expect(explain('/else')).toBe('404 no-rule');
  expect(explain('/dir/', '10.1.2.3')).toBe('403 source-denied');
  expect(explain('/dir/', '127.0.0.1', 'TRACE')).toBe('405 method-refused');
  expect(explain('/dir/../../x')).toBe('400 bad-target');
  expect(statusOf(await ask(getAndClose('/dir')))).toBe(301);
  expect(statusOf(await ask(get('/else', 'Connection: close\r\n')))).toBe(404);
  expect(proxy.explainRequest({ method: 'GET', url: 'https://a.test:0/' }).reason).toBe('not https');
});

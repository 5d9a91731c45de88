// Shadow config: a candidate image decides on live requests, and only the report shows it.
import type { ProxyImage, RulePolicy } from '@openclb/model';
import { expect, onTestFinished, test } from 'vitest';
import { createProxy } from '../src/index.ts';
import { imageOf } from '../src/simple.ts';
import { bodyOf, connect, getAndClose, named, type Origin } from './kit.ts';

async function image(
  routes: readonly { path: string; targets: readonly Origin[]; policy?: RulePolicy }[],
): Promise<ProxyImage> {
  const made = await imageOf({
    listen: 0,
    routes: routes.map(({ path, targets }) => ({ path, targets: targets.map(({ url }) => url) })),
  });
  routes.forEach(({ path, policy }, index) => {
    const row = made.listeners[0]!.rules[index]!;
    row.name = `rule ${path}`;
    if (policy !== undefined) row.policy = policy;
  });
  return made;
}

test('differences of a candidate are counted by kind with examples, and clients and targets notice nothing', async () => {
  const [a, b] = await Promise.all([named('a'), named('b')]);
  const proxy = await createProxy({ bind: 'vips', limits: { drainMs: 50, lingerMs: 200 } });
  onTestFinished(() => proxy.close());
  await proxy.apply(
    await image([
      { path: '/', targets: [a] },
      { path: '/old', targets: [a] },
      { path: '/moved', targets: [a] },
    ]),
  );
  const { port } = proxy.addresses()[0]!;
  const ask = async (path: string): Promise<string> => {
    const peer = await connect(port);
    peer.write(getAndClose(path));
    await peer.ended();
    return bodyOf(peer.text);
  };
  expect(proxy.shadowReport()).toBeNull();
  await proxy.shadow(
    await image([
      { path: '/', targets: [a] },
      { path: '/old', targets: [a], policy: { redirect: { to: '/new' } } },
      { path: '/moved', targets: [b] },
      { path: '/limited', targets: [a], policy: { rates: [{ perSecond: 0.01, burst: 1 }] } },
      { path: '/v1', targets: [a], policy: { rewrite: { pattern: '^/v1', to: '/v2' } } },
    ]),
  );
  for (const path of ['/same', '/old', '/moved', '/limited', '/limited', '/v1/x']) expect(await ask(path)).toBe('a');
  expect(b.peers).toHaveLength(0);
  const report = proxy.shadowReport()!;
  expect(report.compared).toBe(6);
  expect(report.differences).toEqual({ verdict: 2, targets: 1, rule: 2 });
  const shown = Object.fromEntries(
    report.examples.map(({ request, active, candidate }) => [request, `${active} → ${candidate}`]),
  );
  expect(shown['GET http://a.test/old']).toMatch(/^rule rule \/old .* → answered 302 to \/new by rule \/old/);
  expect(shown['GET http://a.test/moved']).toMatch(
    new RegExp(`127\\.0\\.0\\.1:${a.port}\\) → .*127\\.0\\.0\\.1:${b.port}\\)$`),
  );
  expect(report.examples.map(({ candidate }) => candidate)).toContainEqual(
    expect.stringContaining('refused 429 rate-limited'),
  );
  await proxy.shadow(null);
  await ask('/old');
  expect(proxy.shadowReport()).toBeNull();
});

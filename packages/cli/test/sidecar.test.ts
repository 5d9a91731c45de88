// clb sidecar as its users run it: a child process beside a program, fed by a list and by a controller.
import { createController } from '@openclb/control';
import { afterEach, expect, test } from 'vitest';
import { clb, startClb } from './clb.ts';
import { closers, freePort, get, portOf, web } from './servers.ts';

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

test('a sidecar balances over a list and leaves what refuses', async () => {
  const [a, b] = [portOf(await web('a')), portOf(await web('b'))];
  const port = await freePort();
  const targets = [a, b, await freePort()].map((one) => `127.0.0.1:${one}`).join(',');
  const sidecar = startClb(['sidecar', '--listen', `127.0.0.1:${port}`, '--targets', targets]);
  closers.push(() => sidecar.stop());
  await sidecar.sees(`ready: sidecar on http://127.0.0.1:${port} for list`);
  const answers: string[] = [];
  for (let index = 0; index < 8; index++) answers.push(await get(port));
  expect(new Set(answers)).toEqual(new Set(['a for 127.0.0.1', 'b for 127.0.0.1']));
  expect((await sidecar.stop()).status).toBe(0);
});

test('a sidecar follows a target group of the controller', async () => {
  const app = await createController({ store: ':memory:', joinToken: 'join-me', apiKeys: ['key'], oneBox: true });
  closers.push(() => app.close());
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const [a, b] = [portOf(await web('a')), portOf(await web('b'))];
  const put = (ports: readonly number[]) =>
    fetch(`${url}/v1/config`, {
      method: 'PUT',
      headers: { authorization: 'Bearer key', 'content-type': 'application/json' },
      body: JSON.stringify({
        targetGroups: [
          { id: 'lbtg-orders', name: 'orders', targets: ports.map((port) => ({ physical: '127.0.0.1', port })) },
        ],
      }),
    });
  expect(await (await put([a])).text()).toContain('lbtg-orders');
  const port = await freePort();
  const words = ['sidecar', '--listen', `127.0.0.1:${port}`, '--target-group', 'lbtg-orders', '--check', 'none'];
  const sidecar = startClb([...words, '--controller', url, '--token', 'join-me']);
  closers.push(() => sidecar.stop());
  await sidecar.sees('ready: sidecar');
  expect(await get(port)).toBe('a for 127.0.0.1');
  await put([b]);
  await sidecar.sees(/targets of target group lbtg-orders[\s\S]*targets of target group lbtg-orders/);
  expect(await get(port)).toBe('b for 127.0.0.1');
});

test('a sidecar says what is wrong with its flags', async () => {
  const cases: [string[], RegExp][] = [
    [[], /takes one of --targets, --dns and --target-group, and none is given/],
    [['--targets', '10.0.0.1:1', '--dns', 'a.test:1'], /--targets and --dns is given/],
    [['--targets', 'orders:80'], /orders:80 is no target/],
    [['--dns', 'orders.test'], /has no port/],
    [['--target-group', 'lbtg-a'], /needs --controller and --token/],
    [['--dns', 'nobody.test:80', '--dns-server', '127.0.0.1:1'], /cannot resolve A nobody\.test/],
  ];
  const results = await Promise.all(cases.map(([words]) => clb(['sidecar', ...words])));
  results.forEach(({ status, stderr }, index) => {
    expect(status).not.toBe(0);
    expect(stderr).toMatch(cases[index]![1]);
  });
});

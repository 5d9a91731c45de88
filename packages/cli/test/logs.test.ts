// clb logs: requests of a running box by time and condition, as they come, and the mistakes that people make.
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { clb, startClb } from './clb.ts';
import { closers, freePort, get, portOf, web } from './servers.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'clb-logs-'));
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  await rm(folder, { recursive: true });
});

test('requests of a box are found by time and condition, followed, and written to a file that SIGHUP opens again', async () => {
  const [port, api] = [await freePort(), await freePort()];
  const [file, logFile] = [join(folder, 'lb.yaml'), join(folder, 'access.log')];
  const target = portOf(await web('one'));
  await writeFile(
    file,
    `loadBalancers: [{ name: a, vips: [127.0.0.1], listeners: [{ protocol: HTTP, port: ${port}, rules: [{ path: /one, targets: [{ physical: 127.0.0.1, port: ${target} }] }] }] }]\n`,
  );
  const env = { CLB_CONTROLLER: `http://127.0.0.1:${api}`, CLB_API_KEY: 'key' };
  const running = startClb(
    [
      'up',
      '-f',
      file,
      '--api',
      `127.0.0.1:${api}`,
      '--access-log',
      `store,file:${logFile}`,
      '--access-log-format',
      '$status $uri',
    ],
    { env },
  );
  closers.push(() => running.stop('SIGKILL'));
  await running.sees('ready:');
  expect(await get(port, '/one?x=1')).toContain('one for');
  await get(port, '/two');

  const found = await clb(['logs', '--since', '10m', '--where', 'status>=400 and domain=127.0.0.1', '--json'], { env });
  expect(found.stderr).toBe('');
  expect(JSON.parse(found.stdout)).toMatchObject([{ node: 'box', uri: '/two', status: 404, failure: 'no-rule' }]);
  const lines = (await clb(['logs'], { env })).stdout.trim().split('\n');
  expect(lines).toHaveLength(2);
  expect(lines[0]).toMatch(
    /^\S+Z box 127\.0\.0\.1 127\.0\.0\.1 "GET \/one\?x=1 HTTP\/1\.1" 200 \d+B [\d.]+s -> 127\.0\.0\.1:\d+$/,
  );

  const follower = startClb(['logs', '--follow', '--json', '--where', 'path ~ later'], { env });
  await new Promise((resolve) => setTimeout(resolve, 1500));
  await get(port, '/later');
  await follower.sees('"uri":"/later"');
  expect((await follower.stop()).stdout.trim().split('\n')).toHaveLength(1);

  const wrong = await clb(['logs', '--where', 'status >> 500'], { env });
  expect(wrong.status).toBe(2);
  expect(wrong.stderr).toContain('--where, column 9: expected a value\n     status >> 500\n             ^');
  expect((await clb(['logs', '--since', 'yesterday'], { env })).stderr).toContain('write it as 10m or 2026-');

  await expect.poll(async () => readFile(logFile, 'utf8')).toBe('200 /one\n404 /two\n404 /later\n');
  await rename(logFile, `${logFile}.1`);
  running.child.kill('SIGHUP');
  await get(port, '/two');
  await expect.poll(async () => readFile(logFile, 'utf8').catch(() => ''), { timeout: 4000 }).toBe('404 /two\n');
  expect((await running.stop()).status).toBe(0);
}, 30_000);

test('a box without a store says so, and a place that is none is refused', async () => {
  const [port, api] = [await freePort(), await freePort()];
  const file = join(folder, 'lb.yaml');
  await writeFile(
    file,
    `loadBalancers: [{ name: a, vips: [127.0.0.1], listeners: [{ protocol: HTTP, port: ${port}, rules: [{ policy: { respond: { status: 200 } } }] }] }]\n`,
  );
  const env = { CLB_CONTROLLER: `http://127.0.0.1:${api}`, CLB_API_KEY: 'key' };
  const running = startClb(['up', '-f', file, '--api', `127.0.0.1:${api}`], { env });
  closers.push(() => running.stop('SIGKILL'));
  await running.sees('ready:');
  const mute = await clb(['logs'], { env });
  expect(mute.status).toBe(1);
  expect(mute.stderr).toContain('start it with --access-log store');
  const refused = await clb(['up', '-f', file, '--access-log', 'printer']);
  expect(refused.status).toBe(2);
  expect(refused.stderr).toContain("'printer' is no place for logs");
  const variable = await clb(['up', '-f', file, '--access-log', 'stdout', '--access-log-format', '$colour']);
  expect(variable.stderr).toContain('$colour is no variable of logs');
}, 30_000);

test('explain --request asks the live proxy, and says what is no request', async () => {
  const [port, api] = [await freePort(), await freePort()];
  const file = join(folder, 'lb.yaml');
  const target = portOf(await web('one'));
  await writeFile(
    file,
    `loadBalancers: [{ name: a, vips: [127.0.0.1], listeners: [{ protocol: HTTP, port: ${port}, rules: [{ domain: a.test, targets: [{ physical: 127.0.0.1, port: ${target} }] }] }] }]\n`,
  );
  const env = { CLB_CONTROLLER: `http://127.0.0.1:${api}`, CLB_API_KEY: 'key' };
  const running = startClb(['up', '-f', file, '--api', `127.0.0.1:${api}`], { env });
  closers.push(() => running.stop('SIGKILL'));
  await running.sees('ready:');
  const told = await clb(['explain', '--request', `GET http://a.test:${port}/x`, '--header', 'X-A: 1'], { env });
  expect(told.stderr).toBe('');
  expect(told.stdout).toContain('host a.test belongs to domain a.test (exact)');
  expect(told.stdout).toMatch(/\+ X-Real-IP: 192\.0\.2\.1/);
  expect(told.stdout).toMatch(/verdict: forward/);
  const lost = await clb(['explain', '--request', `GET http://b.test:${port}/`], { env });
  expect(lost.stdout).toContain('verdict: refuse: 404 no-rule');
  expect((await clb(['explain', '--request', 'a.test'], { env })).stderr).toContain(
    "write it as 'GET https://a.test/x'",
  );
  expect((await clb(['explain', 'tcp'], { env })).stderr).toContain('or --request');
}, 30_000);

test('a candidate file is compared on live traffic, and nothing of it is stored', async () => {
  const [port, api] = [await freePort(), await freePort()];
  const file = join(folder, 'lb.yaml');
  const next = join(folder, 'next.yaml');
  const target = portOf(await web('one'));
  const text = (policy: string): string =>
    `loadBalancers: [{ name: a, vips: [127.0.0.1], listeners: [{ protocol: HTTP, port: ${port}, rules: [{ ${policy} targets: [{ physical: 127.0.0.1, port: ${target} }] }] }] }]\n`;
  await writeFile(file, text(''));
  await writeFile(next, text('policy: { respond: { status: 410 } },'));
  const env = { CLB_CONTROLLER: `http://127.0.0.1:${api}`, CLB_API_KEY: 'key' };
  const running = startClb(['up', '-f', file, '--api', `127.0.0.1:${api}`], { env });
  closers.push(() => running.stop('SIGKILL'));
  await running.sees('ready:');
  expect((await clb(['shadow', 'start', '-f', next], { env })).stdout).toContain('box: 0 requests compared');
  expect(await get(port, '/x')).toContain('one for');
  const told = await clb(['shadow', 'report'], { env });
  expect(told.stdout).toContain('box: 1 requests compared, 1 verdict');
  expect(told.stdout).toContain('candidate: answered 410 by');
  expect((await clb(['shadow', 'stop'], { env })).stdout).toContain('no candidate decides here');
  expect(await get(port, '/x')).toContain('one for');
}, 30_000);

test('relayed connections of a box are logged in a file and found by condition', async () => {
  const [port, dead, api] = [await freePort(), await freePort(), await freePort()];
  const [file, logFile] = [join(folder, 'lb.yaml'), join(folder, 'access.log')];
  const target = portOf(await web('one'));
  const listener = (vport: number, to: number): string =>
    `{ protocol: TCP, port: ${vport}, targets: [{ physical: 127.0.0.1, port: ${to} }] }`;
  const nobody = await freePort();
  await writeFile(
    file,
    `loadBalancers: [{ name: a, vips: [127.0.0.1], listeners: [${listener(port, target)}, ${listener(dead, nobody)}] }]\n`,
  );
  const env = { CLB_CONTROLLER: `http://127.0.0.1:${api}`, CLB_API_KEY: 'key' };
  const words = ['up', '-f', file, '--api', `127.0.0.1:${api}`, '--access-log', `store,file:${logFile}`];
  const running = startClb(words, { env });
  closers.push(() => running.stop('SIGKILL'));
  await running.sees('ready:');
  expect(await get(port, '/')).toContain('one for');
  await get(dead, '/').catch(() => undefined);

  const ask = async (where: string): Promise<unknown> => {
    const { stdout, stderr } = await clb(['logs', '--connections', '--where', where, '--json'], { env });
    return stderr === '' ? JSON.parse(stdout) : stderr;
  };
  await expect
    .poll(() => ask(`vport=${port}`), { timeout: 5000 })
    .toMatchObject([
      { node: 'box', protocol: 'TCP', remote_addr: '127.0.0.1', upstream_addr: `127.0.0.1:${target}`, failure: '' },
    ]);
  expect(await ask('failure!="" and client=127.0.0.1')).toMatchObject([
    { server_port: dead, upstream_addr: '', failure: 'connect-refused', bytes_sent: 0 },
  ]);
  const { stdout } = await clb(['logs', '--connections'], { env });
  expect(stdout).toMatch(/box TCP 127\.0\.0\.1 127\.0\.0\.1:\d+ \d+B in \d+B out [\d.]+s -> 127\.0\.0\.1:\d+$/m);
  expect((await clb(['logs', '--connections', '--where', 'status=200'], { env })).stderr).toContain(
    'status is no field',
  );
  const lines = async (): Promise<unknown[]> =>
    (await readFile(logFile, 'utf8'))
      .trim()
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as unknown);
  await expect.poll(lines, { timeout: 4000 }).toMatchObject([{ log: 'connection' }, { log: 'connection' }]);
  expect((await running.stop()).status).toBe(0);
});

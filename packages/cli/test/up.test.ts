// clb up end to end: real files, real sockets, a child process, and traffic that goes on while the file changes.
import { once } from 'node:events';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { clb, type RunningClb, startClb } from './clb.ts';
import { closers, echo, freePort, get, listen, portOf, web } from './servers.ts';

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'clb-up-'));
  file = join(folder, 'lb.yaml');
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  await rm(folder, { recursive: true });
});

interface Line {
  send(text: string): void;
  read(): Promise<string>;
  socket: Socket;
}

async function dial(port: number): Promise<Line> {
  const socket = connect(port, '127.0.0.1');
  let buffered = '';
  socket.on('data', (chunk: Buffer) => (buffered += chunk.toString()));
  let failure: Error | undefined;
  socket.on('error', (error) => (failure = error));
  socket.on('close', () => (failure ??= new Error('closed')));
  closers.push(() => socket.destroy());
  await once(socket, 'connect');
  return {
    socket,
    send: (text) => void socket.write(`${text}\n`),
    async read() {
      const deadline = performance.now() + 5_000;
      while (!buffered.includes('\n')) {
        if (failure !== undefined) throw failure;
        if (performance.now() > deadline) throw new Error('nothing came');
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      const at = buffered.indexOf('\n');
      const line = buffered.slice(0, at);
      buffered = buffered.slice(at + 1);
      return line;
    },
  };
}

function yaml(ports: { http: number; tcp: number; web: number; echo: number }): string {
  return `loadBalancers:
  - name: box
    vips: [127.0.0.1]
    listeners:
      - protocol: HTTP
        port: ${ports.http}
        rules:
          - targets: [{ physical: 127.0.0.1, port: ${ports.web} }]
            healthCheck: { enabled: false }
      - protocol: TCP
        port: ${ports.tcp}
        targets: [{ physical: 127.0.0.1, port: ${ports.echo} }]
        healthCheck: { enabled: false }
`;
}

function startUp(...flags: string[]): RunningClb {
  const running = startClb(['up', '-f', file, ...flags]);
  closers.push(() => running.stop('SIGKILL'));
  return running;
}

test('it serves HTTP and TCP, follows its file without dropping connections, and refuses a wrong file', async () => {
  const [one, two] = [await web('one'), await web('two')];
  const [first, second] = [await echo('first'), await echo('second')];
  const ports = { http: await freePort(), tcp: await freePort() };
  await writeFile(file, yaml({ ...ports, web: portOf(one), echo: portOf(first) }));
  const running = startUp();
  await running.sees('ready:');
  expect(await get(ports.http)).toBe('one for 127.0.0.1');
  const old = await dial(ports.tcp);
  expect(await old.read()).toBe('first');

  // As editors do: another file renamed over it.
  await writeFile(`${file}.new`, yaml({ ...ports, web: portOf(two), echo: portOf(second) }));
  await rename(`${file}.new`, file);
  await running.sees('applied:');
  expect(await get(ports.http)).toBe('two for 127.0.0.1');
  expect(await (await dial(ports.tcp)).read()).toBe('second');
  old.send('still here');
  expect(await old.read()).toBe('still here');

  await writeFile(file, `${yaml({ ...ports, web: portOf(one), echo: portOf(first) })}loadBalancer: []\n`);
  await running.sees("unknown key 'loadBalancer'; did you mean 'loadBalancers'?");
  await running.sees('the last good configuration goes on serving');
  expect(await get(ports.http)).toBe('two for 127.0.0.1');

  await writeFile(file, yaml({ ...ports, web: portOf(one), echo: portOf(first) }));
  const deadline = performance.now() + 5_000;
  while ((await get(ports.http)) !== 'one for 127.0.0.1' && performance.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 20));
  expect(await get(ports.http)).toBe('one for 127.0.0.1');

  const { status } = await running.stop('SIGINT');
  expect(status).toBe(0);
  await expect(get(ports.http)).rejects.toThrow('fetch failed');
});

test('requests go on without one failure while targets are changed under load', async () => {
  const [one, two] = [await web('one'), await web('two')];
  const tcp = await echo('x');
  const ports = { http: await freePort(), tcp: await freePort(), echo: portOf(tcp) };
  await writeFile(file, yaml({ ...ports, web: portOf(one) }));
  const running = startUp();
  await running.sees('ready:');
  const over = { yes: false };
  const seen: string[] = [];
  const load = Promise.all(
    Array.from({ length: 8 }, async () => {
      while (!over.yes) seen.push(await get(ports.http));
    }),
  );
  for (let turn = 0; turn < 6; turn++) {
    await writeFile(file, yaml({ ...ports, web: portOf(turn % 2 === 0 ? two : one) }));
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  over.yes = true;
  await load;
  expect(new Set(seen)).toEqual(new Set(['one for 127.0.0.1', 'two for 127.0.0.1']));
  expect((await running.stop('SIGTERM')).status).toBe(0);
});

test('the API of the box answers clb status, get and apply as JSON', async () => {
  const [one, tcp] = [await web('one'), await echo('x')];
  const ports = { http: await freePort(), tcp: await freePort(), web: portOf(one), echo: portOf(tcp) };
  await writeFile(file, yaml(ports));
  const api = await freePort();
  const running = startUp('--api', `127.0.0.1:${api}`, '--api-key', 'open-sesame', '--json');
  await running.sees('"event":"ready"');
  const env = { CLB_CONTROLLER: `http://127.0.0.1:${api}`, CLB_API_KEY: 'open-sesame' };
  const status = await clb(['status', '--json'], { env });
  expect(status.status).toBe(0);
  expect(JSON.parse(status.stdout)).toMatchObject({ applied: true, nodes: [{ id: 'box', role: 'proxy', live: true }] });
  expect((await clb(['status'], { env })).stdout).toContain('applied everywhere');
  const listeners = await clb(['get', 'listeners', '--json'], { env });
  expect(listeners.status).toBe(0);
  expect(listeners.stdout).toContain(`"port": ${ports.tcp}`);
  expect((await clb(['get', 'listeners'], { env })).stdout).toMatch(/^ID +.*PROTOCOL +PORT/);
  const wrongKey = await clb(['get', 'lb'], { env: { ...env, CLB_API_KEY: 'guess' } });
  expect(wrongKey.status).toBe(1);
  expect(wrongKey.stderr).toMatch(/key/);
  expect((await clb(['apply', '-f', file], { env })).stdout).toContain('0 created, 0 updated, 0 deleted');
});

test(
  'it does not start with a wrong file, a taken API port or an address that is not here',
  { timeout: 60_000 },
  async () => {
    await writeFile(file, 'loadBalancers:\n  - nmae: web\n');
    const wrong = await clb(['up', '-f', file]);
    expect(wrong.status).toBe(2);
    expect(wrong.stderr).toContain(`${file}:2:5: unknown key 'nmae'; did you mean 'name'?`);

    const taken = await listen(createServer());
    await writeFile(file, 'loadBalancers: []\n');
    const busy = await clb(['up', '-f', file, '--api', `127.0.0.1:${portOf(taken)}`]);
    expect(busy.status).toBe(1);
    expect(busy.stderr).toContain('choose another port');

    const listener = (vip: string, port: number): string =>
      `loadBalancers: [{ name: a, vips: [${vip}], listeners: [{ protocol: TCP, port: ${port}, targets: [] }] }]\n`;
    await writeFile(file, listener('127.0.0.1', portOf(taken)));
    const port = await clb(['up', '-f', file, '--log', 'silent']);
    expect(port.status).toBe(1);
    expect(port.stderr).toMatch(/EADDRINUSE.*\n.*choose another port/);
    await writeFile(file, listener('198.51.100.77', portOf(taken)));
    const foreign = await clb(['up', '-f', file, '--log', 'silent']);
    expect(foreign.status).toBe(1);
    expect(foreign.stderr).toContain('this machine does not have that address');

    expect((await clb(['up', '-f', join(folder, 'none.yaml')])).status).toBe(2);
  },
);

test('Ctrl-C in the middle of the start ends with 0 and leaves nothing behind', async () => {
  await writeFile(file, 'loadBalancers: []\n');
  for (const ms of [150, 300, 450, 600]) {
    const running = startClb(['up', '-f', file]);
    await new Promise((resolve) => setTimeout(resolve, ms));
    const { status, stderr } = await running.stop('SIGINT');
    // Before our handler is there, the signal ends the process by itself: no status.
    expect([0, null]).toContain(status);
    expect(stderr).toBe('');
  }
}, 60_000);

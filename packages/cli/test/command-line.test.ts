// The command line as its users meet it: exit statuses, messages, JSON, signals.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseConfig } from '../src/config/load.ts';
import { clb, startClb } from './clb.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'clb-test-'));
});
afterAll(() => rm(folder, { recursive: true }));

test('without words it tells what it can do', async () => {
  const { status, stdout } = await clb([]);
  expect(status).toBe(0);
  expect(stdout).toContain('usage: clb <command>');
  expect(stdout).toContain('explain');
});

test('an unknown command and an unknown flag name the nearest known one and end with 2', async () => {
  const command = await clb(['explian']);
  expect(command).toMatchObject({ status: 2, stdout: '' });
  expect(command.stderr).toContain("clb has no command 'explian'; did you mean 'clb explain'?");
  const flag = await clb(['apply', '--fiel', 'x']);
  expect(flag.status).toBe(2);
  expect(flag.stderr).toContain('clb apply has no flag --fiel; did you mean --file?');
  const verb = await clb(['eip', 'bnid']);
  expect(verb.status).toBe(2);
  expect(verb.stderr).toContain("did you mean 'clb eip bind'?");
});

test('an unknown key in YAML is refused with line, column and the nearest known key', async () => {
  const file = join(folder, 'bad.yaml');
  await writeFile(
    file,
    'loadBalancers:\n  - name: web\n    vips: [127.0.0.1]\n    listeners:\n      - protocol: TCP\n        prot: 80\n',
  );
  const { status, stderr } = await clb(['apply', '-f', file, '--dry-run']);
  expect(status).toBe(2);
  expect(stderr).toContain(`${file}:6:9: unknown key 'prot'; did you mean 'port'?`);
  expect(stderr).toContain("5:9: 'port' is missing");
});

test('errors are one JSON object with --json', async () => {
  const { status, stdout, stderr } = await clb(['get', 'listeners', '--json', '--controller', 'http://127.0.0.1:1']);
  expect(status).toBe(1);
  expect(stdout).toBe('');
  const { error } = JSON.parse(stderr) as { error: { message: string; hint: string } };
  expect(error.message).toContain('no answer from the controller at http://127.0.0.1:1');
  expect(error.hint).toContain('--controller');
});

test('the connection comes from the user file when flags and environment are silent', async () => {
  await mkdir(join(folder, 'clb'));
  const env = { XDG_CONFIG_HOME: folder };
  await writeFile(join(folder, 'clb', 'config.yaml'), 'controller: http://127.0.0.1:2\n');
  expect((await clb(['status'], { env })).stderr).toContain('http://127.0.0.1:2');
  expect((await clb(['status'], { env: { ...env, CLB_CONTROLLER: 'http://127.0.0.1:3' } })).stderr).toContain(':3');
  await writeFile(join(folder, 'clb', 'config.yaml'), 'controler: http://127.0.0.1:2\n');
  const wrong = await clb(['status'], { env });
  expect(wrong.status).toBe(2);
  expect(wrong.stderr).toContain("unknown key 'controler'; did you mean 'controller'?");
});

test('a configuration module in TypeScript is loaded and checked', async () => {
  const file = join(folder, 'lb.ts');
  await writeFile(
    file,
    "const port: number = 80;\nexport default { loadBalancers: [{ name: 'web', vips: ['127.0.0.1'], listeners: [{ protocol: 'TCP', port }] }] };\n",
  );
  expect(await clb(['apply', '-f', file, '--dry-run'])).toMatchObject({ status: 0, stdout: `${file} is valid\n` });
  await writeFile(file, 'export default { loadBalancer: [] };\n');
  const wrong = await clb(['apply', '-f', file, '--dry-run']);
  expect(wrong.status).toBe(2);
  expect(wrong.stderr).toContain("unknown key 'loadBalancer'; did you mean 'loadBalancers'?");
});

test('a role says that it is ready, and a signal ends it with 0', async () => {
  const args = ['announce', '--controller', 'http://127.0.0.1:1', '--api-key', 'k', '--json'];
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const running = startClb(args);
    await running.sees('"event":"ready"');
    expect(await running.stop(signal)).toMatchObject({ status: 0 });
    expect(JSON.parse(running.stdout())).toMatchObject({ event: 'ready', role: 'announcer' });
  }
});

test('every configuration that the documentation shows is valid', async () => {
  const root = fileURLToPath(new URL('../../../', import.meta.url));
  const pages = ['README.md', 'packages/cli/README.md', 'docs/tutorial/first-balancer.md'];
  const texts = [await readFile(join(root, 'packages/cli/examples/lb.yaml'), 'utf8')];
  for (const page of pages) {
    const blocks = [...(await readFile(join(root, page), 'utf8')).matchAll(/```yaml\n([\s\S]*?)```/g)];
    expect(blocks.length).toBeGreaterThan(0);
    texts.push(...blocks.map((block) => block[1] ?? ''));
  }
  for (const text of texts) expect(parseConfig(text).config.loadBalancers).not.toEqual([]);
});

test('a configuration is read from standard input', async () => {
  const input = 'loadBalancers: [{ name: web, vips: [203.0.113.1] }]';
  expect(await clb(['apply', '-f', '-', '--dry-run', '--json'], { input })).toMatchObject({ status: 0, stderr: '' });
});

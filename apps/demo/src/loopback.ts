// Where namespaces cannot be made (macOS, locked-down containers): why, and then the relay and layer-7 part on loopback through `clb up`.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startProcess, stop, waitReady } from '../../../tools/testkit/index.ts';
import type { Running } from '../../../tools/testkit/index.ts';
import { vmAnswer } from './agent.ts';
import { http } from './client.ts';
import { API_KEY } from './api.ts';
import { clbCommand, runCommand } from './command.ts';
import type { CommandOutcome } from './command.ts';
import { SECURE_CERTIFICATES, securePlan } from './secure.ts';
import type { SecureStage } from './secure.ts';
import { pinnedAndCanary, retriedAndExplained, secureNames } from './story/secure.ts';
import type { Teller } from './tell.ts';
import { tally } from './watch.ts';

const LOOPBACK = '127.0.0.1';
const REQUESTS = 40;

/** A port that nobody listens on; taken again a moment later, which is as good as it gets without a fixed one. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, LOOPBACK, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

interface Ports {
  tcp: number;
  http: number;
  https: number;
  one: number;
  two: number;
  broken: number;
  api: number;
}

const target = (port: number): object => ({ physical: LOOPBACK, encapsulation: 'none', port });

/** In YAML's flow style, which is JSON. */
const secureListener = ({ https, one, two, broken }: Ports): string =>
  JSON.stringify({
    name: 'secure',
    protocol: 'HTTPS',
    port: https,
    certificates: SECURE_CERTIFICATES.map(({ name }) => name),
    rules: securePlan(target(one), target(two), target(broken)),
  });

/** The file that a person would write for one box. */
const boxFile = (ports: Ports): string => {
  const { tcp, http: web, one, two } = ports;
  return `
certificates: ${JSON.stringify(SECURE_CERTIFICATES)}
loadBalancers:
  - name: box
    vips: [${LOOPBACK}]
    listeners:
      - name: relay
        protocol: TCP
        port: ${tcp}
        scheduler: wrr
        targets:
          - { physical: ${LOOPBACK}, encapsulation: none, port: ${one}, weight: 10 }
          - { physical: ${LOOPBACK}, encapsulation: none, port: ${two}, weight: 10 }
      - name: web
        protocol: HTTP
        port: ${web}
        rules:
          - domain: shop.example
            path: /
            isDefault: true
            targets: [{ physical: ${LOOPBACK}, encapsulation: none, port: ${one} }]
          - domain: shop.example
            path: /api
            targets: [{ physical: ${LOOPBACK}, encapsulation: none, port: ${two} }]
          - domain: other.example
            path: /only
            targets: [{ physical: ${LOOPBACK}, encapsulation: none, port: ${two} }]
      - ${secureListener(ports)}
`;
};

export async function tellOnLoopback(tell: Teller, why: string): Promise<void> {
  tell.note(`no network namespaces: ${why}`);
  tell.note('so the relay and layer-7 part of the story is told on loopback, through `clb up`');
  const directory = mkdtempSync(join(tmpdir(), 'openclb-loopback-'));
  const started: Running[] = [];
  try {
    const ports: Ports = {
      tcp: await freePort(),
      http: await freePort(),
      https: await freePort(),
      one: await freePort(),
      two: await freePort(),
      broken: await freePort(),
      api: await freePort(),
    };
    const script = fileURLToPath(new URL('vm.ts', import.meta.url));
    for (const [name, port] of [['server-one', ports.one] as const, ['server-two', ports.two] as const]) {
      const broken = name === 'server-one' ? ['--broken-port', String(ports.broken)] : [];
      const words = [script, '--name', name, '--port', String(port), ...broken];
      started.push(startProcess(directory, name, [process.execPath, ...words]));
    }
    const file = join(directory, 'lb.yaml');
    writeFileSync(file, boxFile(ports));
    const api = ['--api', `${LOOPBACK}:${ports.api}`, '--api-key', API_KEY];
    started.push(startProcess(directory, 'box', clbCommand('up', '-f', file, '--access-log', 'store', ...api)));
    await Promise.all(started.map((running) => waitReady(running)));
    await tellRelay(tell, ports);
    await tellHttp(tell, ports);
    await tellSecure(tell, ports);
  } finally {
    await Promise.all(started.map((running) => stop(running)));
    rmSync(directory, { recursive: true, force: true });
  }
}

async function tellSecure(tell: Teller, { https, api }: Ports): Promise<void> {
  const env = { ...process.env, CLB_CONTROLLER: `http://${LOOPBACK}:${api}`, CLB_API_KEY: API_KEY };
  const atClient = (...words: string[]): Promise<CommandOutcome> => runCommand(words, env);
  const stage: SecureStage = {
    address: LOOPBACK,
    port: https,
    first: 'server-one',
    second: 'server-two',
    atClient,
    clb: (...words) => atClient(...clbCommand(...words)),
  };
  tell.step('HTTPS with SNI and HTTP/2');
  await secureNames(stage, tell);
  tell.step('A pinned session and a canary');
  await pinnedAndCanary(stage, tell);
  tell.step('A failure that the client never sees: retried, logged, explained');
  await retriedAndExplained(stage, tell);
}

async function tellRelay(tell: Teller, ports: Ports): Promise<void> {
  tell.step('A TCP listener, relayed');
  const names: string[] = [];
  for (let request = 0; request < REQUESTS; request++) {
    const outcome = await http({ kind: 'http', address: LOOPBACK, port: ports.tcp });
    names.push(vmAnswer(outcome)?.name ?? outcome.error ?? String(outcome.status));
  }
  const { counts, text } = tally(names);
  const [one = 0, two = 0] = [counts['server-one'], counts['server-two']];
  tell.claim(
    'both servers answer, by weight',
    one + two === REQUESTS && Math.min(one, two) >= REQUESTS / 4,
    `${REQUESTS} connections: ${text}`,
  );
}

async function tellHttp(tell: Teller, ports: Ports): Promise<void> {
  tell.step('An HTTP listener, routed by domain and path');
  const ask = (host: string, path: string) =>
    http({ kind: 'http', address: LOOPBACK, port: ports.http, path, headers: { host } });
  const [root, api, unknownHost, unknownPath] = await Promise.all([
    ask('shop.example', '/'),
    ask('shop.example', '/api/list'),
    ask('nobody.example', '/'),
    ask('other.example', '/elsewhere'),
  ]);
  const name = (outcome: typeof root): string => vmAnswer(outcome)?.name ?? outcome.error ?? String(outcome.status);
  tell.claim(
    'domain and longest path prefix choose the server',
    name(root) === 'server-one' && name(api) === 'server-two',
    `/ → ${name(root)}, /api/list → ${name(api)}`,
  );
  const headers = vmAnswer(root)?.headers ?? {};
  tell.claim(
    'X-Real-IP, X-Forwarded-For and X-Client-Proto are present',
    headers['x-real-ip'] === LOOPBACK &&
      headers['x-forwarded-for'] === LOOPBACK &&
      headers['x-client-proto'] === 'http',
    `${headers['x-real-ip']}, ${headers['x-forwarded-for']}, ${headers['x-client-proto']}`,
  );
  tell.claim(
    'an unknown domain is answered by the default domain, an unknown path with 404',
    name(unknownHost) === 'server-one' && unknownPath.status === 404,
    `${name(unknownHost)}, ${unknownPath.status || unknownPath.error}`,
  );
}

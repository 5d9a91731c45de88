// ACME from order to handshake: the controller orders, proxies answer the authority over HTTP, and HTTPS begins with what was issued.
import { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { afterEach, expect, test } from 'vitest';
import { createController } from '@openclb/control';
import { acmeServer, type AcmeServer } from './acme-server.ts';
import { createLog } from '../src/log.ts';
import { createPluginHost } from '@openclb/model';
import { startProxyNode } from '../src/proxy-node.ts';
import { clb } from './clb.ts';
import { closers, freePort, portOf, web } from './servers.ts';

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const silent = createLog(() => undefined, 'silent', false);

async function cluster(domains: readonly string[], authority: (http: number) => Promise<AcmeServer>) {
  const [http, https] = [await freePort(), await freePort()];
  const acme = await authority(http);
  closers.push(() => acme.close());
  const app = await createController({
    store: ':memory:',
    joinToken: 'join',
    apiKeys: ['key'],
    oneBox: true,
    readyPort: 0,
    acme: { pollMs: 20, retryMs: 300 },
  });
  closers.push(() => app.close());
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const target = { physical: '127.0.0.1', port: portOf(await web('web')) };
  const redirect = { redirectToHttps: { port: https } };
  const config = {
    nodes: [{ id: 'px1', role: 'proxy', underlay: { v4: '192.0.2.1' } }],
    certificates: [{ id: 'cert-www', name: 'www', acme: { domains, directory: acme.directory } }],
    loadBalancers: [
      {
        name: 'a',
        vips: ['127.0.0.1'],
        listeners: [
          { protocol: 'HTTP', port: http, policy: redirect, rules: [{ targets: [target] }] },
          { protocol: 'HTTPS', port: https, certificates: ['www'], rules: [{ targets: [target] }] },
        ],
      },
    ],
  };
  const host = await createPluginHost([], { onError: () => {} });
  const node = await startProxyNode({
    id: 'px1',
    controller: { url, token: 'join' },
    bind: 'vips',
    plugins: host,
    log: silent,
  });
  closers.push(() => node.close());
  const put = await app.inject({
    method: 'PUT',
    url: '/v1/config',
    headers: { authorization: 'Bearer key' },
    payload: config,
  });
  expect(put.body).toContain('revision');
  const shown = async () =>
    (await app.inject({ url: '/v1/certificates/cert-www', headers: { authorization: 'Bearer key' } })).json() as {
      state: string;
      problem?: string;
      notAfter?: string;
      certificate?: string;
    };
  return { acme, app, url, http, https, shown };
}

async function until<T>(ask: () => Promise<T>, isDone: (value: T) => boolean): Promise<T> {
  let value = await ask();
  for (let left = 300; left > 0 && !isDone(value); left--) {
    await new Promise((resolve) => setTimeout(resolve, 30));
    value = await ask();
  }
  if (!isDone(value)) throw new Error(`waited in vain: ${JSON.stringify(value)}`);
  return value;
}

/** Subject names of the certificate that a client is given, which must lead to the authority's own. */
function handshake(port: number, servername: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', servername, ca }, () => {
      resolve(socket.getPeerX509Certificate()?.serialNumber ?? '');
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

test('a certificate is ordered, proved through the proxy although it redirects, and served', async () => {
  const { acme, http, https, shown, url } = await cluster(['a.test', 'b.test'], (port) => acmeServer(() => port));
  const first = await until(shown, ({ state }) => state === 'issued');
  expect(acme.fetched.map((line) => line.split(' ')[0])).toEqual(['a.test', 'b.test']);
  expect(JSON.stringify(first)).not.toMatch(/PRIVATE KEY|accountKey|challenges/);
  expect(Date.parse(first.notAfter!) - Date.now()).toBeGreaterThan(80 * 86_400_000);
  const serial = await until(
    () => handshake(https, 'b.test', acme.root).catch(() => ''),
    (text) => text !== '',
  );
  expect(serial).toBe(new X509Certificate(first.certificate!).serialNumber);
  // The answers are gone again, and so is the exception from the redirect.
  const old = acme.fetched[0]!.split(' ')[1]!;
  const after = await until(
    () => fetch(`http://127.0.0.1:${http}${old}`, { redirect: 'manual' }).then(({ status }) => status),
    (status) => status !== 200,
  );
  expect(after).toBe(301);
  const table = await clb(['get', 'certificates', '--controller', url, '--api-key', 'key']);
  expect(table.stdout).toMatch(/cert-www +www +issued +20/);
}, 20_000);

test('a refused order is told with its reason, tried again later, and nothing else suffers', async () => {
  let isRight = false;
  const other = portOf(await web('somebody else'));
  const { shown, http, https, acme } = await cluster(['a.test'], (port) => acmeServer(() => (isRight ? port : other)));
  const failed = await until(shown, ({ state }) => state === 'failed');
  expect(failed.problem).toMatch(/wrong answer of a\.test: somebody else.*; next try 20/);
  expect((await fetch(`http://127.0.0.1:${http}/`, { redirect: 'manual' })).status).toBe(301);
  await expect(handshake(https, 'a.test', acme.root)).rejects.toThrow(/ECONNREFUSED/);
  isRight = true;
  const issued = await until(shown, ({ state }) => state === 'issued');
  expect(issued.problem).toBeUndefined();
  expect(acme.accounts.size).toBe(1);
  await until(
    () => handshake(https, 'a.test', acme.root).catch(() => ''),
    (text) => text !== '',
  );
}, 20_000);

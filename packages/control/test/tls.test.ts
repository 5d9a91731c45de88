// TLS policies and HTTP/2 of listeners on their way from the API to a proxy image: what is refused, what is compiled.
import { checkImage, type ProxyImage, type TlsPolicy } from '@openclb/model';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { compile, resolvePools } from '../src/index.ts';
import { openSqliteStore } from '../src/desired/sqlite.ts';
import { openTickets } from '../src/link/tickets.ts';
import { emptyState, putIntoState } from '../src/desired/state.ts';
import { JOIN_TOKEN, sampleConfig, startTestController, type TestController } from './cluster.ts';

/** A self-signed certificate of a.test and its key, made for tests. */
const certificate = `-----BEGIN CERTIFICATE-----
MIIBizCCATKgAwIBAgIUUSCklL6VVNuGGz4QXHq7FU82SB0wCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGYS50ZXN0MCAXDTI2MTEyMDExMDM1OFoYDzIxMjYxMDI3MTEw
MzU4WjARMQ8wDQYDVQQDDAZhLnRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AATUyNLEcewwVw6+aNs04erWJz598O/EhaWeiNOQUubTOVevHjRO9Uek0W8+mQ5k
2j6Ejpx3onRrnApc4DLQTYETo2YwZDAdBgNVHQ4EFgQUajvPKam1sSXC9WUqFCP2
WE1WYnwwHwYDVR0jBBgwFoAUajvPKam1sSXC9WUqFCP2WE1WYnwwDwYDVR0TAQH/
BAUwAwEB/zARBgNVHREECjAIggZhLnRlc3QwCgYIKoZIzj0EAwIDRwAwRAIgdqbD
dxtF7EWMUF5TZMZ2mWieAqNGYh7+lwnqr51g2uACIBSl8Y9SdJAx64RwOK02ldlq
/7vW2nCiM4e00kvk07fL
-----END CERTIFICATE-----
`;
const privateKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQga2AVJ5OgSJuJoqFs
js1ZnL5vGZ0tPreuZj8e/PerahKhRANCAATUyNLEcewwVw6+aNs04erWJz598O/E
haWeiNOQUubTOVevHjRO9Uek0W8+mQ5k2j6Ejpx3onRrnApc4DLQTYET
-----END PRIVATE KEY-----
`;

let controller: TestController;

beforeAll(async () => {
  controller = await startTestController();
  await controller.call('PUT', '/config', sampleConfig());
  for (const [path, body] of [
    ['/load-balancers', { id: 'lb-a', name: 'a', network: 'public', vips: ['203.0.113.77'] }],
    ['/certificates', { id: 'cert-a', name: 'a.test', certificate, privateKey }],
  ] as const) {
    const { status, body: answer } = await controller.call('POST', path, body);
    if (status !== 201) throw new Error(`${path}: ${answer.detail}`);
  }
});
afterAll(() => controller.app.close());

const add = (port: number, more: object) =>
  controller.call('POST', '/listeners', {
    loadBalancer: 'lb-a',
    protocol: 'HTTPS',
    port,
    certificates: ['cert-a'],
    ...more,
  });

function proxyImage(): ProxyImage {
  const state = emptyState();
  for (const kind of ['vpc', 'node', 'instance', 'group', 'lb', 'listener', 'eip', 'certificate']) {
    for (const [key, { value }] of controller.app.controller.mirror.list(`d/${kind}/`)) putIntoState(state, key, value);
  }
  return compile(state, new Map(), { pools: resolvePools(), readyPort: 8998 }).images.get('px1') as ProxyImage;
}

describe('the TLS policy of a listener', () => {
  test.each<[object, string]>([
    [{ tls: { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.2' } }, '/tls/minVersion'],
    [{ tls: { verifyClient: 'on' } }, '/tls/clientAuthority'],
    [{ tls: { minVersion: 'SSLv3' } }, '/tls/minVersion'],
    [{ tls: { verifyDepth: 11 } }, '/tls/verifyDepth'],
    [{ tls: { ciphers: 'A B' } }, '/tls/ciphers'],
    [{ tls: {}, protocol: 'HTTP', certificates: [] }, '/tls'],
    [{ http2: true, protocol: 'TCP_SSL' }, '/http2'],
  ])('is refused with its field: %j', async (more, field) => {
    const { status, body } = await add(4430, more);
    expect([status, body.field]).toEqual([400, field]);
  });

  test('reaches the image of the proxies, and is absent where nobody set it', async () => {
    const tls: TlsPolicy = {
      minVersion: 'TLSv1',
      verifyClient: 'optional',
      clientAuthority: certificate,
      verifyDepth: 2,
    };
    expect((await add(4431, { tls, http2: false })).status).toBe(201);
    expect((await add(4432, {})).status).toBe(201);
    const image = proxyImage();
    expect(checkImage(image)).toBeNull();
    const [one, two] = [4431, 4432].map((port) => image.listeners.find((listener) => listener.port === port)!);
    expect(one).toMatchObject({ tls, http2: false });
    expect(two).not.toHaveProperty('tls');
    expect(two).not.toHaveProperty('http2');
  });
});

describe('secrets beside the image', () => {
  const link = (path: string) =>
    controller.app.inject({ url: `/link/v1${path}`, headers: { authorization: `Bearer ${JOIN_TOKEN}` } });

  test('an OCSP response goes to the proxies with its certificate, and another certificate drops it', async () => {
    const bad = await controller.call('PATCH', '/certificates/cert-a', { ocsp: 'MAMKAQY=' });
    expect(bad).toMatchObject({ status: 400 });
    expect((await controller.call('PATCH', '/certificates/cert-a', { ocsp: 'MAMKAQA=' })).status).toBe(200);
    expect((await controller.call('GET', '/certificates/cert-a')).body).toMatchObject({ ocsp: 'MAMKAQA=' });
    expect((await link('/certificates/cert-a')).json()).toMatchObject({ privateKey, ocsp: 'MAMKAQA=' });
    await controller.call('PATCH', '/certificates/cert-a', { certificate, privateKey });
    expect((await link('/certificates/cert-a')).json()).not.toHaveProperty('ocsp');
  });

  test('ticket secrets are the same for every node and every controller of one store, and other ones the next day', async () => {
    const day = 24 * 60 * 60 * 1000;
    const folder = mkdtempSync(join(tmpdir(), 'clb-tickets-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    let now = 100 * day;
    const open = async () => {
      const store = openSqliteStore({ path: join(folder, 'one.sqlite'), nowMs: () => now });
      const tickets = await openTickets(store, () => now);
      return { tickets, close: () => store.close() };
    };
    const first = await open();
    const before = first.tickets.now();
    expect(before.changesAtMs).toBe(101 * day);
    expect(before.secret).not.toBe(before.next);
    await first.close();
    const second = await open();
    expect(second.tickets.now()).toEqual(before);
    now += day;
    expect(second.tickets.now().secret).toBe(before.next);
    await second.close();
    expect((await controller.app.inject({ url: '/link/v1/ticket-secrets' })).statusCode).toBe(401);
  });
});

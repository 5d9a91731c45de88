// Probes against real servers: HTTP of both versions, over TLS, with a text in the body, and gRPC judged by grpc-js.
import * as grpc from '@grpc/grpc-js';
import type net from 'node:net';
import tls from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { CheckSpec } from '@openclb/model';
import { probe } from '../src/probe/probe.ts';
import { CERTIFICATES } from './certificates.ts';
import { freePort, getAndClose, named, origin, sleep } from './kit.ts';
import { grpcServer, startWith, until } from './upstream-kit.ts';

const CHECK: CheckSpec = {
  type: 'http',
  intervalMs: 1000,
  timeoutMs: 400,
  healthyThreshold: 1,
  unhealthyThreshold: 1,
  http: { method: 'GET', path: '/health', codes: 2 },
};
const identity = (port: number) => ({ id: 't', name: 't', address: '127.0.0.1', port, source: null });
const ask = (port: number, more: Partial<CheckSpec>) => probe(identity(port), { ...CHECK, ...more });
const http = (more: Partial<NonNullable<CheckSpec['http']>>) => ({ http: { ...CHECK.http!, ...more } });
const GOOD = { isGood: true };

describe('an HTTP probe', () => {
  test('of version 1.0 has no Host unless one is given', async () => {
    const heads: string[] = [];
    const target = await origin((head, peer) => {
      heads.push(head);
      peer.write('HTTP/1.0 200 OK\r\n\r\nfine').socket.end();
    });
    expect(await ask(target.port, http({ version: '1.0' }))).toEqual(GOOD);
    expect(await ask(target.port, http({ version: '1.0', host: 'a.test' }))).toEqual(GOOD);
    expect(heads[0]).toMatch(/^GET \/health HTTP\/1\.0\r\nUser-Agent: clb-healthcheck\r\n/);
    expect(heads[1]).toMatch(/\r\nHost: a\.test\r\n/);
  });

  test.each([
    ['by length', 'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nit is READY!'],
    ['in chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nit is RE\r\n4\r\nADY!\r\n0\r\n\r\n'],
    ['up to FIN', 'HTTP/1.1 200 OK\r\n\r\nit is READY!'],
  ])('finds its text in a body %s', async (_, answer) => {
    const target = await origin((_head, peer) => {
      peer.write(answer);
      setTimeout(() => peer.socket.end(), 20);
    });
    expect(await ask(target.port, http({ body: 'READY' }))).toEqual(GOOD);
    const missing = await ask(target.port, http({ body: 'ready' }));
    expect(missing).toEqual({ isGood: false, reason: 'the body does not hold the text' });
  });

  test.each([1, 2, 4, 8, 16])('takes the classes of its mask %i', async (mask) => {
    for (const [status, bit] of [
      [204, 2],
      [302, 4],
      [404, 8],
      [503, 16],
    ] as const) {
      const target = await origin(
        (_head, peer) => void peer.write(`HTTP/1.1 ${status} X\r\nContent-Length: 0\r\n\r\n`),
      );
      const outcome = await ask(target.port, http({ codes: mask }));
      expect(outcome).toEqual((mask & bit) === 0 ? { isGood: false, reason: `status ${status}` } : GOOD);
    }
  });

  test('says why it failed: silence, garbage, refusal, FIN', async () => {
    const silent = await origin(() => {});
    const garbage = await origin((_head, peer) => void peer.write('SSH-2.0-x\r\n'));
    const rude = await origin((_head, peer) => void peer.socket.end());
    const reasons = [];
    for (const port of [silent.port, garbage.port, rude.port, await freePort()]) {
      const outcome = await ask(port, { timeoutMs: 150 });
      reasons.push(outcome.isGood ? 'good' : outcome.reason);
    }
    expect(reasons).toEqual(['no answer in 150 ms', 'malformed answer', 'closed without an answer', 'ECONNREFUSED']);
  });

  test('over TLS asks whether somebody answers, whatever the certificate', async () => {
    const { certificate, privateKey } = CERTIFICATES['a.test']!;
    const server = tls.createServer({ key: privateKey, cert: certificate }, (socket) => {
      socket.on('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')).on('error', () => {});
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as net.AddressInfo;
    expect(await ask(port, { type: 'https' })).toEqual(GOOD);
    expect((await ask(port, {})).isGood).toBe(false);
    const plain = await named('plain');
    expect((await ask(plain.port, { type: 'https' })).isGood).toBe(false);
  });
});

describe('a gRPC probe', () => {
  const same = (bytes: Buffer): Buffer => bytes;
  const health = {
    check: {
      path: '/grpc.health.v1.Health/Check',
      requestStream: false,
      responseStream: false,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    },
  };

  test('believes SERVING only, for the service that it names', async () => {
    const asked: string[] = [];
    const started = await grpcServer({});
    started.server.addService(health, {
      check: (call: grpc.ServerUnaryCall<Buffer, Buffer>, answer: grpc.sendUnaryData<Buffer>) => {
        const service = call.request.toString('latin1', 2);
        asked.push(service);
        if (service === 'none') answer({ code: grpc.status.NOT_FOUND });
        else answer(null, Buffer.from([0x08, service === 'down' ? 2 : 1]));
      },
    });
    const of = (service: string, codes: number[] = []) => ask(started.port, { type: 'grpc', grpc: { service, codes } });
    expect(await of('')).toEqual(GOOD);
    expect(await of('up')).toEqual(GOOD);
    expect(await of('down')).toEqual({ isGood: false, reason: 'serving status 2' });
    expect(await of('none')).toEqual({ isGood: false, reason: 'gRPC status 5' });
    expect(asked).toEqual(['', 'up', 'down', 'none']);
  });

  test('takes the statuses that the check allows, and no server that speaks another protocol', async () => {
    const { port } = await grpcServer({});
    const spec = { type: 'grpc', grpc: { service: '', codes: [] as number[] } } as const;
    expect(await ask(port, spec)).toEqual({ isGood: false, reason: 'gRPC status 12' });
    expect(await ask(port, { ...spec, grpc: { service: '', codes: [12] } })).toEqual(GOOD);
    const http1 = await named('no h2');
    expect((await ask(http1.port, spec)).isGood).toBe(false);
    expect((await ask(await freePort(), spec)).isGood).toBe(false);
  });
});

test('a new target gets no traffic before its probes are good, while another is alive', async () => {
  let isReady = false;
  const old = await named('old');
  const fresh = await origin((head, peer) => {
    const status = head.startsWith('HEAD') && !isReady ? 503 : 200;
    peer.write(`HTTP/1.1 ${status} X\r\nContent-Length: ${head.startsWith('HEAD') ? 0 : 5}\r\n\r\n`);
    if (!head.startsWith('HEAD')) peer.write('fresh');
  });
  const check: CheckSpec = { ...CHECK, intervalMs: 100, ...http({ method: 'HEAD' }) };
  const { ask: get, proxy, records } = await startWith([old.url, fresh.url], {}, { check });
  await until(() => proxy.health()[0]!.health === 'alive');
  for (let round = 0; round < 6; round++) await get(getAndClose());
  expect(records.every(({ upstreamAddress }) => upstreamAddress.endsWith(`:${old.port}`))).toBe(true);
  isReady = true;
  await until(() => proxy.health()[1]!.health === 'alive');
  await sleep(10);
  for (let round = 0; round < 4; round++) await get(getAndClose());
  expect(records.slice(-4).filter(({ upstreamAddress }) => upstreamAddress.endsWith(`:${fresh.port}`))).toHaveLength(2);
});

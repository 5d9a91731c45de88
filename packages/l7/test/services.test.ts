// What surrounds the walk: health checks, filters, logs, closing, ordinary clients and servers.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { CheckSpec, FilterResponse } from '@openclb/model';
import { type AccessRecord, createLogWriter, createProxy, type TargetHealth } from '../src/index.ts';
import { imageOf } from '../src/simple.ts';
import { connect, get, getAndClose, OK, okOrigin, origin, sleep, start, statusOf } from './kit.ts';

const check = (type: CheckSpec['type'], http?: CheckSpec['http']): CheckSpec => ({
  type,
  intervalMs: 100,
  timeoutMs: 100,
  healthyThreshold: 2,
  unhealthyThreshold: 2,
  ...(http === undefined ? {} : { http }),
});

async function until(what: string, isTrue: () => boolean): Promise<void> {
  for (let waited = 0; !isTrue(); waited += 20) {
    if (waited > 5000) throw new Error(`waited 5 s for ${what}`);
    await sleep(20);
  }
}

describe('health checks', () => {
  test('take a dead target out, requests go on, and bring it back', async () => {
    const a = await okOrigin();
    const b = await okOrigin();
    const changes: TargetHealth[] = [];
    const { ask, proxy } = await start({
      targets: [a.url, b.url],
      check: check('tcp'),
      onHealth: (health) => void changes.push(health),
    });
    const health = (): string =>
      proxy
        .health()
        .map((row) => row.health)
        .join(' ');
    await until('both alive', () => health() === 'alive alive');
    await b.close();
    await until('one dead', () => health() === 'alive dead');
    expect(proxy.health()[1]!.reason).toBe('ECONNREFUSED');
    for (let round = 0; round < 4; round++) expect(statusOf(await ask(getAndClose()))).toBe(200);
    expect(proxy.counters().retries).toBe(0);
    const again = net.createServer((socket) => void socket.on('data', () => socket.write(OK)).on('error', () => {}));
    await new Promise<void>((resolve) => again.listen(b.port, '127.0.0.1', resolve));
    onTestFinished(() => void again.close());
    await until('both alive again', () => health() === 'alive alive');
    expect(changes.slice(2).map((row) => row.health)).toEqual(['dead', 'alive']);
  });

  test('of HTTP ask with their own name, the given host and path, and mind the status', async () => {
    let head = '';
    let status = 404;
    const target = await origin((text, peer) => {
      head = text;
      peer.write(`HTTP/1.1 ${status} X\r\nContent-Length: 0\r\n\r\n`);
    });
    const { proxy } = await start({
      targets: [target.url],
      check: check('http', { method: 'HEAD', path: '/health?x', host: 'probe.test', codes: 2 | 4 }),
    });
    await until('dead', () => proxy.health()[0]!.health === 'dead');
    expect(proxy.health()[0]!.reason).toBe('status 404');
    expect(head).toMatch(/^HEAD \/health\?x HTTP\/1\.1\r\n/);
    expect(head).toMatch(/host: probe\.test\r\n/i);
    expect(head).toMatch(/user-agent: clb-healthcheck\r\n/i);
    status = 204;
    await until('alive', () => proxy.health()[0]!.health === 'alive');
  });

  test('that all fail leave all targets in use', async () => {
    const target = await origin(
      (head, peer) => void peer.write(head.startsWith('HEAD') ? 'HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n' : OK),
    );
    const { ask, proxy } = await start({
      targets: [target.url],
      check: check('http', { method: 'HEAD', path: '/', codes: 2 }),
    });
    await until('dead', () => proxy.health()[0]!.health === 'dead');
    expect(statusOf(await ask(getAndClose()))).toBe(200);
  });

  test('leave from the address that names the VPC, as requests do', async () => {
    const seen = new Set<string>();
    const target = await okOrigin();
    const { proxy, ask } = await start({ targets: [target.url] });
    const image = await imageOf({ listen: 0, targets: [target.url], check: check('tcp') });
    image.targets[0]!.source = '127.0.3.9';
    await proxy.apply(image);
    await ask(getAndClose());
    await until('alive', () => proxy.health()[0]!.health === 'alive');
    for (const peer of target.peers) if (peer.socket.remoteAddress !== undefined) seen.add(peer.socket.remoteAddress);
    expect([...seen]).toEqual(['127.0.3.9']);
  });
});

describe('filters', () => {
  test('change requests and responses, or answer themselves', async () => {
    let seen = '';
    const target = await origin((head, peer) => {
      seen = head;
      peer.write('HTTP/1.1 200 OK\r\nX-Secret: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n');
    });
    const { ask } = await start({
      routes: [{ path: '/new', targets: [target.url] }],
      filters: [
        {
          name: 'edit',
          request: (request) => {
            if (request.target === '/deny') return { status: 403, headers: [['X-Why', 'no']], body: 'denied' };
            request.target = request.target.replace('/old', '/new');
            request.headers.push(['x-added', request.client.address]);
            return undefined;
          },
          response: async (response: FilterResponse) => {
            await sleep(5);
            response.headers = response.headers.filter(([name]) => name !== 'x-secret');
            response.status = 201;
          },
        },
      ],
    });
    const got = await ask(`POST /old?x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody`);
    expect(got).toMatch(/^HTTP\/1\.1 201 .*\r\n\r\n2\r\nok\r\n0\r\n\r\n$/s);
    expect(got).not.toMatch(/x-secret/i);
    expect(seen).toMatch(/^POST \/new\?x HTTP\/1\.1\r\nHost: a\.test\r\n/);
    expect(seen).toMatch(/x-added: 127\.0\.0\.1\r\n/);
    expect(seen).toMatch(/Content-Length: 4\r\n/);
    await until('the body', () => target.peers[0]!.text.endsWith('body'));
    expect(await ask(getAndClose('/deny'))).toMatch(/^HTTP\/1\.1 403 .*X-Why: no\r\n.*denied$/s);
  });

  test('keep the pool of the target', async () => {
    const target = await okOrigin();
    const { ask } = await start({ targets: [target.url], filters: [{ name: 'none', response: async () => sleep(2) }] });
    for (let round = 0; round < 3; round++) expect(await ask(getAndClose())).toMatch(/ok$/);
    expect(target.peers).toHaveLength(1);
  });

  test('that fail or try to split a header cost one request, not the proxy', async () => {
    const target = await okOrigin();
    const errors: string[] = [];
    const { ask } = await start({
      targets: [target.url],
      onError: (source) => void errors.push(source),
      filters: [
        {
          name: 'bad',
          request: (request) => {
            if (request.target === '/throw') throw new Error('no');
            if (request.target === '/split') request.headers.push(['x-a', 'b\r\nX-Evil: 1']);
          },
        },
      ],
    });
    expect(statusOf(await ask(getAndClose('/throw')))).toBe(500);
    expect(statusOf(await ask(getAndClose('/split')))).toBe(500);
    expect(errors).toEqual(['bad', 'bad']);
    expect(statusOf(await ask(getAndClose('/')))).toBe(200);
    expect(target.peers[0]!.text).not.toContain('Evil');
  });
});

describe('logs', () => {
  test('tell of every exchange how it went', async () => {
    const records: AccessRecord[] = [];
    const target = await okOrigin();
    const { ask } = await start({
      routes: [{ domain: 'a.test', targets: [target.url] }],
      accessLog: (record) => void records.push(record),
    });
    await ask(getAndClose('/x?y'));
    await ask('GET / HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n');
    expect(records[0]).toMatchObject({
      remoteAddress: '127.0.0.1',
      method: 'GET',
      host: 'a.test',
      target: '/x?y',
      status: 200,
      upstreamStatus: 200,
      upstreamAddress: `127.0.0.1:${target.port}`,
      attempts: 1,
      responseBytes: OK.length + 'Connection: close\r\n'.length,
    });
    expect(records[0]!.requestMs).toBeGreaterThanOrEqual(records[0]!.upstreamMs);
    expect(records[1]).toMatchObject({
      host: 'b.test',
      status: 404,
      failure: 'no-rule',
      upstreamAddress: '',
      upstreamMs: -1,
    });
  });

  test('tell once of an exchange that was cut off, with what was done and why', async () => {
    const records: AccessRecord[] = [];
    const target = await origin((_, peer) => void peer.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort'));
    const { ask } = await start({ targets: [target.url], accessLog: (record) => void records.push(record) });
    await ask(get());
    await sleep(20);
    expect(records.map(({ status, failure }) => [status, failure])).toEqual([[200, 'response-truncated']]);
  });

  test('are written in batches, one line each, whatever the client sends', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'clb-log-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, 'access.log');
    const writer = createLogWriter({ path });
    const target = await okOrigin();
    const { ask } = await start({ targets: [target.url], accessLog: writer.write });
    for (let round = 0; round < 20; round++) await ask(getAndClose('/"x\\'));
    await writer.close();
    const lines = readFileSync(path, 'utf8').trim().split('\n');
    expect(lines).toHaveLength(20);
    expect(lines[0]).toMatch(/^127\.0\.0\.1 \[\S+\] a\.test "GET \/\\"x\\\\" 200 \d+ 127\.0\.0\.1:\d+ \d\.\d{3} -$/);
    expect(writer.lost()).toBe(0);
  });
});

describe('closing', () => {
  test('lets an exchange in flight end and accepts no more', async () => {
    const slow = await origin((_, peer) => void setTimeout(() => peer.write(OK), 150));
    const proxy = await createProxy({ listen: 0, targets: [slow.url] });
    const { port } = proxy.addresses()[0]!;
    const idle = await connect(port);
    const busy = await connect(port);
    busy.write(get());
    await slow.connection();
    const closing = proxy.close();
    await expect(connect(port)).rejects.toThrow('ECONNREFUSED');
    await Promise.all([busy.ended(), idle.ended()]);
    expect(busy.text).toMatch(/200 OK.*Connection: close\r\n\r\nok$/s);
    await closing;
  });

  test('one of two that share a port by reusePort leaves it to the other', async () => {
    const target = await okOrigin();
    const first = await start({ targets: [target.url], reusePort: true });
    const second = await start({
      targets: [target.url],
      reusePort: true,
      listen: { host: '127.0.0.1', port: first.port },
    });
    await first.proxy.close();
    for (let round = 0; round < 10; round++) expect(statusOf(await second.ask(getAndClose()))).toBe(200);
    expect(second.proxy.counters().requests).toBe(10);
  });

  test('leaves no timer and no socket behind, so that a script ends', async () => {
    const source = `
      import http from 'node:http';
      import { createProxy } from '@openclb/l7';
      const server = http.createServer((request, response) => response.end('hello'));
      await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
      const proxy = await createProxy({ listen: 0, targets: ['http://127.0.0.1:' + server.address().port] });
      const response = await fetch('http://127.0.0.1:' + proxy.addresses()[0].port);
      console.log(await response.text());
      await proxy.close();
      server.close();
    `;
    const cwd = new URL('..', import.meta.url).pathname;
    const text = execFileSync(process.execPath, ['--conditions=@openclb/source', '--input-type=module', '-e', source], {
      cwd,
      timeout: 15_000,
    });
    expect(text.toString()).toBe('hello\n');
  });
});

describe('ordinary peers', () => {
  test('node:http on both sides sees nothing odd', async () => {
    const server = http.createServer((request, response) => {
      let bytes = 0;
      request.on('data', (chunk: Buffer) => (bytes += chunk.length));
      request.on('end', () => response.end(JSON.stringify({ bytes, headers: request.headers })));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { port } = await start({ targets: [`http://127.0.0.1:${(server.address() as net.AddressInfo).port}`] });
    const bodies = await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const response = await fetch(`http://127.0.0.1:${port}/${index}`, {
          method: 'POST',
          body: 'x'.repeat(index * 5000),
        });
        return (await response.json()) as { bytes: number; headers: Record<string, string> };
      }),
    );
    expect(bodies.map(({ bytes }) => bytes)).toEqual(Array.from({ length: 50 }, (_, index) => index * 5000));
    expect(bodies[0]!.headers['x-real-ip']).toBe('127.0.0.1');
  });

  test('curl speaks every form it knows', async (context) => {
    const hasCurl = (() => {
      try {
        return execFileSync('curl', ['--version']).length > 0;
      } catch {
        return false;
      }
    })();
    context.skip(!hasCurl, 'needs curl: apt-get install curl');
    const target = await origin((head, peer) => {
      if (/expect: 100/i.test(head)) peer.write('HTTP/1.1 100 Continue\r\n\r\n');
      peer.write(OK);
    });
    const { port } = await start({ targets: [target.url] });
    const { promisify } = await import('node:util');
    const { execFile } = await import('node:child_process');
    const curl = async (...args: string[]): Promise<string> =>
      (await promisify(execFile)('curl', ['-sS', '-i', '--max-time', '5', ...args, `http://127.0.0.1:${port}/x`]))
        .stdout;
    expect(await curl()).toMatch(/^HTTP\/1\.1 200 OK\r\n.*ok$/s);
    expect(await curl('-0')).toMatch(/^HTTP\/1\.1 200 OK\r\n.*ok$/s);
    expect(await curl('-I')).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(await curl('--request-target', '*', '-X', 'OPTIONS')).toMatch(/200 OK/);
    expect(await curl('-d', 'x'.repeat(1000))).toMatch(/ok$/);
    expect(await curl('-H', 'Transfer-Encoding: chunked', '-d', 'abc')).toMatch(/ok$/);
    expect(await curl('--proxy', `http://127.0.0.1:${port}`)).toMatch(/ok$/);
  });
});

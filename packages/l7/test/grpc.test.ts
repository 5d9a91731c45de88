// gRPC through the proxy, judged by grpc-js on both sides: the four kinds of call, trailers, cancellation, deadlines, and failures.
import * as grpc from '@grpc/grpc-js';
import http2 from 'node:http2';
import type net from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { freePort, origin, sleep } from './kit.ts';
import { CERTIFICATES } from './certificates.ts';
import { collect, grpcClient, grpcServer, type Handlers, SERVICE, startWith, unary, until } from './upstream-kit.ts';

const GRPC = { forward: { type: 'grpc' } } as const;
const same = (bytes: Buffer): Buffer => bytes;

const ECHO: Handlers = {
  unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>, answer: grpc.sendUnaryData<Buffer>) => {
    const trailers = new grpc.Metadata();
    trailers.set('x-trailer', 'seen');
    answer(null, Buffer.from(`echo ${call.request.toString()}`), trailers);
  },
  up: (call: grpc.ServerReadableStream<Buffer, Buffer>, answer: grpc.sendUnaryData<Buffer>) => {
    let bytes = 0;
    call.on('data', (message: Buffer) => (bytes += message.length));
    call.on('end', () => answer(null, Buffer.from(String(bytes))));
  },
  down: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
    for (let index = 0; index < 5; index++) call.write(Buffer.from(`${call.request.toString()} ${index}`));
    call.end();
  },
  both: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
    call.on('data', (message: Buffer) => void call.write(Buffer.from(`got ${message.toString()}`)));
    call.on('end', () => call.end());
  },
};

describe('calls', () => {
  test('of all four kinds come through, with trailers', async () => {
    const server = await grpcServer(ECHO);
    const { port, records } = await startWith([server.url], GRPC);
    const client = grpcClient(port);
    const one = await unary(client, 'hello');
    expect(one).toMatchObject({ value: 'echo hello', code: grpc.status.OK });
    expect(one.trailers.get('x-trailer')).toEqual(['seen']);

    const total = await new Promise<string>((resolve, reject) => {
      const call = client.makeClientStreamRequest(SERVICE.up.path, same, same, (error, answer) =>
        error === null ? resolve(answer!.toString()) : reject(error),
      );
      for (let index = 0; index < 20; index++) call.write(Buffer.alloc(50_000));
      call.end();
    });
    expect(total).toBe('1000000');

    const down = await collect(client.makeServerStreamRequest(SERVICE.down.path, same, same, Buffer.from('m')));
    expect(down).toMatchObject({ messages: ['m 0', 'm 1', 'm 2', 'm 3', 'm 4'], code: grpc.status.OK });

    const call = client.makeBidiStreamRequest(SERVICE.both.path, same, same);
    const both = collect(call);
    for (const word of ['a', 'b', 'c']) {
      call.write(Buffer.from(word));
      // Each answer comes while the request still runs.
      await new Promise((resolve) => call.once('data', resolve));
    }
    call.end();
    expect(await both).toMatchObject({ messages: ['got a', 'got b', 'got c'], code: grpc.status.OK });
    await sleep(20);
    expect(records.map(({ status, grpcStatus, failure }) => ({ status, grpcStatus, failure }))).toEqual(
      Array.from({ length: 4 }, () => ({ status: 200, grpcStatus: 0, failure: '' })),
    );
  });

  test('bring statuses of the application untouched', async () => {
    const server = await grpcServer({
      unary: (_call: unknown, answer: grpc.sendUnaryData<Buffer>) =>
        answer({ code: grpc.status.NOT_FOUND, details: 'no such thing' }),
    } as Handlers);
    const { port, proxy, records } = await startWith([server.url], GRPC);
    const client = grpcClient(port);
    const outcomes = await Promise.all(Array.from({ length: 50 }, () => unary(client, 'x')));
    for (const { code, details } of outcomes) expect([code, details]).toEqual([grpc.status.NOT_FOUND, 'no such thing']);
    expect(records[0]).toMatchObject({ status: 200, grpcStatus: grpc.status.NOT_FOUND });
    expect(proxy.counters().failures).toEqual({});
  });

  test('over TLS with ALPN on both sides', async () => {
    const { certificate, privateKey } = CERTIFICATES['a.test']!;
    const credentials = grpc.ServerCredentials.createSsl(null, [
      { private_key: Buffer.from(privateKey), cert_chain: Buffer.from(certificate) },
    ]);
    const server = await grpcServer(ECHO, credentials);
    const verified = {
      forward: { type: 'grpcs', serverName: 'a.test', verify: true, authority: certificate },
    } as const;
    const good = await startWith([server.url], verified);
    expect(await unary(grpcClient(good.port), 'x')).toMatchObject({ value: 'echo x', code: grpc.status.OK });
    const other = { forward: { ...verified.forward, serverName: 'b.test' } } as const;
    const bad = await startWith([server.url], other);
    const outcome = await unary(grpcClient(bad.port), 'x');
    expect(outcome).toMatchObject({ code: grpc.status.UNAVAILABLE, details: 'target-handshake' });
  });
});

describe('ends', () => {
  test('a client that cancels is felt by the target, and the other way round', async () => {
    let cancelled = 0;
    const server = await grpcServer({
      down: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
        call.write(Buffer.from('first'));
        call.on('cancelled', () => cancelled++);
        if (call.request.toString() === 'abort') {
          setTimeout(() => call.emit('error', { code: grpc.status.ABORTED, details: 'no' }), 20);
        }
      },
    } as Handlers);
    const { port, records } = await startWith([server.url], GRPC);
    const client = grpcClient(port);
    const call = client.makeServerStreamRequest(SERVICE.down.path, same, same, Buffer.from('wait'));
    const outcome = collect(call);
    await new Promise((resolve) => call.once('data', resolve));
    call.cancel();
    expect((await outcome).code).toBe(grpc.status.CANCELLED);
    await until(() => cancelled > 0);
    expect(cancelled).toBe(1);
    expect(records[0]!.failure).toBe('client-gone');
    const aborted = await collect(client.makeServerStreamRequest(SERVICE.down.path, same, same, Buffer.from('abort')));
    expect(aborted).toMatchObject({ messages: ['first'], code: grpc.status.ABORTED });
  });

  test('a deadline ends the call at the target too', async () => {
    let cancelled = 0;
    const server = await grpcServer({
      unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>) => void call.on('cancelled', () => cancelled++),
    } as Handlers);
    const { port, records } = await startWith([server.url], GRPC);
    // A raw client that keeps no clock of its own: the proxy must.
    const session = http2.connect(`http://127.0.0.1:${port}`);
    onTestFinished(() => session.destroy());
    const stream = session.request({
      ':method': 'POST',
      ':path': SERVICE.unary.path,
      'content-type': 'application/grpc',
      'grpc-timeout': '150m',
      te: 'trailers',
    });
    stream.end(Buffer.from([0, 0, 0, 0, 0]));
    const headers = await new Promise<http2.IncomingHttpHeaders>((resolve) => stream.once('response', resolve));
    expect(headers).toMatchObject({ ':status': 200, 'grpc-status': '4', 'grpc-message': 'request-timeout' });
    await until(() => cancelled > 0);
    expect(cancelled).toBe(1);
    expect(records[0]).toMatchObject({ failure: 'request-timeout', grpcStatus: 4 });
  });

  test('a dead target is UNAVAILABLE in the words of gRPC', async () => {
    const port = await freePort();
    const { port: own } = await startWith([`http://127.0.0.1:${port}`], GRPC);
    expect(await unary(grpcClient(own), 'x')).toMatchObject({
      code: grpc.status.UNAVAILABLE,
      details: 'connect-refused',
    });
  });

  test('a target that dies in the middle of a stream leaves a status behind what it said', async () => {
    const server = await grpcServer({
      down: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
        call.write(Buffer.from('first'));
        setTimeout(() => server.server.forceShutdown(), 30);
      },
    } as Handlers);
    const { port, records } = await startWith([server.url], GRPC);
    const call = grpcClient(port).makeServerStreamRequest(SERVICE.down.path, same, same, Buffer.from('x'));
    expect(await collect(call)).toMatchObject({ messages: ['first'], code: grpc.status.UNAVAILABLE });
    expect(records[0]!.failure).toBe('response-truncated');
  });
});

describe('what a target has not looked at', () => {
  let sessions = 0;
  const rawServer = async (onStream: (stream: http2.ServerHttp2Stream, count: number) => void): Promise<string> => {
    let count = 0;
    sessions = 0;
    const server = http2.createServer();
    server.on('stream', (stream: http2.ServerHttp2Stream) => {
      stream.on('error', () => {});
      onStream(stream, count++);
    });
    server.on('session', () => sessions++);
    server.on('sessionError', () => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    return `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  };
  const ok = (stream: http2.ServerHttp2Stream, text: string): void => {
    const message = Buffer.concat([Buffer.from([0, 0, 0, 0, text.length]), Buffer.from(text)]);
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(message);
  };

  test('is tried again although it was sent: REFUSED_STREAM', async () => {
    const url = await rawServer((stream, count) => {
      if (count === 0) stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
      else ok(stream, 'again');
    });
    const { port, records } = await startWith([url], GRPC);
    expect(await unary(grpcClient(port), 'body')).toMatchObject({ value: 'again', code: grpc.status.OK });
    expect(records[0]).toMatchObject({ attempts: 2, grpcStatus: 0, failure: '' });
  });

  test('goes to a new connection after GOAWAY, without a failed call', async () => {
    const url = await rawServer((stream) => {
      ok(stream, 'ok');
      stream.session!.goaway(http2.constants.NGHTTP2_NO_ERROR);
    });
    const { port, records } = await startWith([url], GRPC);
    const client = grpcClient(port);
    for (let round = 0; round < 20; round++) expect(await unary(client, 'x')).toMatchObject({ value: 'ok', code: 0 });
    expect(records.every(({ failure }) => failure === '')).toBe(true);
    expect(sessions).toBeGreaterThan(1);
  });

  test('shares one connection of the target with all that runs at once', async () => {
    const url = await rawServer((stream) => void setTimeout(() => ok(stream, 'ok'), 20));
    const { port } = await startWith([url], GRPC);
    const clients = [grpcClient(port), grpcClient(port)];
    const outcomes = await Promise.all(Array.from({ length: 60 }, (_, index) => unary(clients[index % 2]!, 'x')));
    expect(outcomes.every(({ value }) => value === 'ok')).toBe(true);
    expect(sessions).toBe(1);
  });

  test('waits where the client does not read: a stopped reader costs its window, not the stream', async () => {
    let written = 0;
    const url = await rawServer((stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      const more = (): void => {
        while (written < 64 * 1024 * 1024 && !stream.destroyed) {
          written += 16_384;
          if (!stream.write(Buffer.alloc(16_384))) return void stream.once('drain', more);
        }
      };
      more();
    });
    const { port } = await startWith([url], GRPC);
    const session = http2.connect(`http://127.0.0.1:${port}`);
    onTestFinished(() => session.destroy());
    const stream = session.request({
      ':method': 'POST',
      ':path': '/a/b',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.end(Buffer.from([0, 0, 0, 0, 0]));
    await new Promise((resolve) => stream.once('response', resolve));
    stream.pause();
    await sleep(300);
    const before = written;
    await sleep(100);
    expect(written).toBe(before);
    expect(written).toBeLessThan(4 * 1024 * 1024);
    stream.resume();
    await until(() => written > before);
    expect(written).toBeGreaterThan(before);
    stream.close();
  });
});

describe('chaos: a gRPC target', () => {
  const begin = (stream: http2.ServerHttp2Stream): void => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    stream.write(Buffer.from([0, 0, 0, 0, 1, 0x41]));
  };
  const outcomes: [string, (stream: http2.ServerHttp2Stream) => void, string, number][] = [
    [
      'resets before an answer',
      (stream) => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR),
      'response-missing',
      14,
    ],
    [
      'resets in the middle',
      (stream) => {
        begin(stream);
        setTimeout(() => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR), 20);
      },
      'response-truncated',
      14,
    ],
    [
      'ends without a status',
      (stream) => {
        begin(stream);
        stream.end();
      },
      'response-truncated',
      14,
    ],
    ['cuts the connection', (stream) => void setTimeout(() => stream.session!.destroy(), 10), 'response-missing', 14],
    ['says nothing', () => {}, 'response-timeout', 4],
    ['stops in the middle', (stream) => begin(stream), 'response-timeout', 4],
  ];
  test.each(outcomes)('that %s', async (_, act, failure, code) => {
    const server = http2.createServer();
    server.on('stream', (stream: http2.ServerHttp2Stream) => {
      stream.on('error', () => {});
      act(stream);
    });
    server.on('sessionError', () => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const url = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
    const { port, records } = await startWith([url], { ...GRPC, timeouts: { firstByteMs: 100, readMs: 100 } });
    const outcome = await collect(
      grpcClient(port).makeServerStreamRequest(SERVICE.down.path, same, same, Buffer.from('x')),
    );
    expect(outcome.code).toBe(code);
    await until(() => records.length === 1);
    expect(records[0]).toMatchObject({ failure, grpcStatus: code, attempts: 1 });
  });

  test('that does not speak HTTP/2 at all', async () => {
    const target = await origin((_, peer) => void peer.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
    const { port, records } = await startWith([target.url], GRPC);
    expect((await unary(grpcClient(port), 'x')).code).toBe(grpc.status.INTERNAL);
    await until(() => records.length === 1);
    expect(records[0]!.failure).toBe('response-malformed');
  });

  test('that allows one stream at once gets more connections, not a queue', async () => {
    let sessions = 0;
    const server = http2.createServer({ settings: { maxConcurrentStreams: 1 } });
    server.on('session', () => sessions++);
    server.on('stream', (stream: http2.ServerHttp2Stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      setTimeout(() => stream.end(Buffer.from([0, 0, 0, 0, 1, 0x41])), 50);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const url = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
    const { port } = await startWith([url], GRPC);
    const client = grpcClient(port);
    expect((await unary(client, 'first')).value).toBe('A');
    const all = await Promise.all(Array.from({ length: 8 }, () => unary(client, 'x')));
    expect(all.every(({ value }) => value === 'A')).toBe(true);
    expect(sessions).toBeGreaterThanOrEqual(8);
  });
});

describe('what fails before a rule is found', () => {
  test('is told in the words of gRPC to who speaks it, and logged so', async () => {
    const { port, records } = await startWith([(await grpcServer(ECHO)).url], GRPC);
    const call = grpcClient(port);
    const session = http2.connect(`http://127.0.0.1:${port}`);
    onTestFinished(() => session.destroy());
    const ask = async (fields: Record<string, string>) => {
      const request = session.request({ ':method': 'PUSH', ':path': SERVICE.unary.path, ...fields });
      request.end();
      const head = await new Promise<http2.IncomingHttpHeaders>((resolve) => request.once('response', resolve));
      request.resume();
      return [head[':status'], head['grpc-status'] ?? null, head['grpc-message'] ?? null];
    };
    expect(await ask({ 'content-type': 'application/grpc' })).toEqual([200, '13', 'method-unknown']);
    expect(await ask({ 'content-type': 'application/json' })).toEqual([501, null, null]);
    expect(records.map(({ grpcStatus, failure }) => [grpcStatus, failure])).toEqual([
      [13, 'method-unknown'],
      [-1, 'method-unknown'],
    ]);
    call.close();
  });
});

describe('gRPC-Web', () => {
  const frame = (text: string): Buffer => Buffer.concat([Buffer.from([0, 0, 0, 0, text.length]), Buffer.from(text)]);

  test('in binary becomes gRPC, and its trailers a last frame', async () => {
    const server = await grpcServer(ECHO);
    const { port } = await startWith([server.url], GRPC);
    const response = await fetch(`http://127.0.0.1:${port}${SERVICE.unary.path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/grpc-web+proto', 'x-grpc-web': '1' },
      body: new Uint8Array(frame('web')),
    });
    expect(response.headers.get('content-type')).toBe('application/grpc-web+proto');
    const bytes = Buffer.from(await response.arrayBuffer());
    expect(bytes.subarray(0, 13)).toEqual(frame('echo web'));
    expect(bytes[13]).toBe(0x80);
    expect(bytes.readUInt32BE(14)).toBe(bytes.length - 18);
    expect(bytes.toString('latin1', 18)).toContain('grpc-status: 0\r\n');
    expect(bytes.toString('latin1', 18)).toContain('x-trailer: seen\r\n');
  });

  test('in text is base64 both ways', async () => {
    const server = await grpcServer(ECHO);
    const { port } = await startWith([server.url], GRPC);
    const body = `${frame('t').subarray(0, 4).toString('base64')}${frame('t').subarray(4).toString('base64')}`;
    const response = await fetch(`http://127.0.0.1:${port}${SERVICE.unary.path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/grpc-web-text' },
      body,
    });
    expect(response.headers.get('content-type')).toBe('application/grpc-web-text');
    const text = await response.text();
    const bytes = Buffer.concat((text.match(/[^=]+={0,2}/g) ?? []).map((piece) => Buffer.from(piece, 'base64')));
    expect(bytes.subarray(0, 11)).toEqual(frame('echo t'));
    expect(bytes[11]).toBe(0x80);
  });

  test('hears of a dead target in fields', async () => {
    const dead = await freePort();
    const { port } = await startWith([`http://127.0.0.1:${dead}`], GRPC);
    const response = await fetch(`http://127.0.0.1:${port}${SERVICE.unary.path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/grpc-web' },
      body: new Uint8Array(frame('x')),
    });
    expect([response.status, response.headers.get('grpc-status')]).toEqual([200, '14']);
  });
});

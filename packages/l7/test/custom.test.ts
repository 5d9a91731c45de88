// Personalised configs on the wire (tencent-cloud.md E4): each directive, parsed from its text, changes what the proxy does.
import { once } from 'node:events';
import http2 from 'node:http2';
import { type CustomConfig, parseCustomConfig, type ProxyImage, type RulePolicy } from '@openclb/model';
import { expect, onTestFinished, test } from 'vitest';
import { createProxy, type Proxy } from '../src/index.ts';
import { imageOf } from '../src/simple.ts';
import { bodyOf, connect, get, getAndClose, okOrigin, origin, type Peer, sleep, statusOf } from './kit.ts';

interface Served {
  readonly proxy: Proxy;
  readonly port: number;
  readonly client: () => Promise<Peer>;
  readonly ask: (bytes: string) => Promise<string>;
}

/** A listener with this text; `changes` shortens what the whitelist allows in seconds only. */
async function serve(url: string, text: string, changes: CustomConfig = {}, policy?: RulePolicy): Promise<Served> {
  const image: ProxyImage = await imageOf({ listen: 0, routes: [{ path: '/', targets: [url] }] });
  image.listeners[0]!.custom = { ...parseCustomConfig(text).config, ...changes };
  if (policy !== undefined) image.listeners[0]!.rules[0]!.policy = policy;
  const proxy = await createProxy({ bind: 'vips', limits: { drainMs: 50, lingerMs: 200, connectTimeoutMs: 200 } });
  onTestFinished(() => proxy.close());
  await proxy.apply(image);
  const { port } = proxy.addresses()[0]!;
  const client = (): Promise<Peer> => connect(port);
  const ask = async (bytes: string): Promise<string> => {
    const peer = await client();
    peer.write(bytes);
    await peer.ended();
    return peer.text;
  };
  return { proxy, port, client, ask };
}

test('client_header_timeout, client_body_timeout and keepalive_timeout end slow and idle clients', async () => {
  const target = await okOrigin();
  const text = 'client_header_timeout 30; client_body_timeout 1m; keepalive_timeout 75s;';
  expect(parseCustomConfig(text).config).toEqual({
    headTimeoutMs: 30_000,
    bodyTimeoutMs: 60_000,
    keepAliveTimeoutMs: 75_000,
  });
  const times = { headTimeoutMs: 150, bodyTimeoutMs: 150, keepAliveTimeoutMs: 150 };
  const { client } = await serve(target.url, text, times);
  const [slowHead, slowBody, idle] = [await client(), await client(), await client()];
  slowHead.write('GET / HTT');
  slowBody.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab');
  idle.write(get());
  await idle.has('ok');
  for (const peer of [slowHead, slowBody, idle]) await peer.ended();
  expect([slowHead, slowBody].map(({ text: got }) => statusOf(got))).toEqual([408, 408]);
});

test('keepalive_timeout 0 and keepalive_requests end connections with their answer', async () => {
  const target = await okOrigin();
  const none = await serve(target.url, 'keepalive_timeout 0;');
  expect(await none.ask(get())).toContain('Connection: close');
  const two = await serve(target.url, 'keepalive_requests 2;');
  const answers = await two.ask(get() + get() + get());
  expect(answers.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
});

test('client_max_body_size refuses longer bodies, client_header_buffer_size takes longer heads', async () => {
  const target = await okOrigin();
  const { ask } = await serve(target.url, 'client_max_body_size 1M; client_header_buffer_size 64k;');
  expect(statusOf(await ask('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n'))).toBe(413);
  const large = `X-Large: ${'x'.repeat(40_000)}\r\n`;
  expect(statusOf(await ask(getAndClose('/', large)))).toBe(200);
  const plain = await serve(target.url, 'client_max_body_size 1M;');
  expect(statusOf(await plain.ask(getAndClose('/', large)))).toBe(431);
});

test('proxy_read_timeout, proxy_send_timeout and proxy_connect_timeout give up on slow targets', async () => {
  const silent = await origin(() => {});
  const reading = await serve(silent.url, 'proxy_read_timeout 30;', { readTimeoutMs: 100 });
  expect(await reading.ask(getAndClose())).toMatch(/504[^]*response-timeout/);
  const stuck = await origin();
  const sending = await serve(
    stuck.url,
    'proxy_send_timeout 30; client_max_body_size 100M; proxy_request_buffering off;',
    {
      requestTimeoutMs: 150,
    },
  );
  const peer = await sending.client();
  peer.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000000\r\n\r\n');
  (await stuck.connection()).socket.pause();
  const block = Buffer.alloc(1024 * 1024);
  for (let sent = 0; sent < 40; sent++) peer.socket.write(block);
  await peer.has('504');
  expect(peer.text).toContain('send-timeout');
  // An address that nobody answers from.
  const image = await imageOf({ listen: 0, targets: ['http://192.0.2.1:9'] });
  image.listeners[0]!.custom = { connectTimeoutMs: 100 };
  const proxy = await createProxy({
    bind: 'vips',
    limits: { drainMs: 50, connectTimeoutMs: 30_000, readTimeoutMs: 200 },
  });
  onTestFinished(() => proxy.close());
  await proxy.apply(image);
  const client = await connect(proxy.addresses()[0]!.port);
  client.write(getAndClose());
  await client.has(/HTTP\/1\.1 50[234]/);
}, 10_000);

test('proxy_buffer_size bounds the response head', async () => {
  const target = await origin(
    (_, peer) => void peer.write(`HTTP/1.1 200 OK\r\nX-Large: ${'x'.repeat(6000)}\r\nContent-Length: 0\r\n\r\n`),
  );
  const slow = await origin((_, peer) => {
    peer.write(`HTTP/1.1 200 OK\r\nX-Large: ${'x'.repeat(6000)}`);
    setTimeout(() => peer.write('\r\nContent-Length: 0\r\n\r\n'), 30);
  });
  const small = 'proxy_buffer_size 4k;';
  expect(statusOf(await (await serve(target.url, small)).ask(getAndClose()))).toBe(502);
  expect(statusOf(await (await serve(slow.url, small)).ask(getAndClose()))).toBe(502);
  const large = 'proxy_buffer_size 8k; proxy_buffers 8 8k;';
  expect(statusOf(await (await serve(slow.url, large)).ask(getAndClose()))).toBe(200);
});

test('proxy_request_buffering on asks a target when the body is whole; a long one streams; 100 comes from the proxy', async () => {
  const target = await okOrigin();
  const { client } = await serve(target.url, 'proxy_request_buffering on;');
  const peer = await client();
  peer.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n');
  await peer.has('HTTP/1.1 100 Continue\r\n\r\n');
  peer.write('ab');
  await sleep(50);
  expect(target.peers).toHaveLength(0);
  peer.write('cd');
  await peer.has('ok');
  expect(target.peers[0]!.text).toMatch(/\r\n\r\nabcd$/);
  expect(target.peers[0]!.text).not.toMatch(/expect/i);
  const long = await client();
  long.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n');
  long.socket.write(Buffer.alloc(1_500_000));
  const upstream = await target.connection(0);
  await upstream.gets(1_000_000);
  long.socket.write(Buffer.alloc(1_500_000));
  await long.has('ok');
});

test('add_header, more_set_headers, server_tokens and proxy_redirect edit answers of targets and of the proxy', async () => {
  const target = await origin((head, peer) => {
    const status = head.startsWith('GET /bad') ? '404 No' : '302 Found';
    peer.write(
      `HTTP/1.1 ${status}\r\nServer: secret/1\r\nLocation: http://b.test/x\r\nX-Old: 1\r\nContent-Length: 0\r\n\r\n`,
    );
  });
  const { ask } = await serve(
    target.url,
    [
      'add_header X-Ok "by $server_port"; add_header X-Always yes always;',
      'more_set_headers "X-Old: 2" "X-Client: $remote_addr";',
      'server_tokens off; # no version',
      'proxy_redirect http:// https://;',
    ].join('\r\n'),
  );
  const found = await ask(getAndClose('/'));
  expect(found).toMatch(/X-Ok: by \d+\r\n/);
  expect(found).toContain('X-Always: yes\r\n');
  expect(found).toContain('X-Old: 2\r\nX-Client: 127.0.0.1\r\n');
  expect(found).not.toContain('X-Old: 1');
  expect(found).toContain('Location: https://b.test/x\r\n');
  expect(found.match(/^Server: .*$/gm)).toEqual(['Server: openclb']);
  const bad = await ask(getAndClose('/bad'));
  expect(bad).not.toContain('X-Ok');
  expect(bad).toContain('X-Always: yes');
  const refused = await ask('CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n');
  expect(refused).toMatch(/Server: openclb\r\n/);
});

test('proxy_set_header tells targets what it may', async () => {
  const target = await okOrigin();
  const { ask, port } = await serve(
    target.url,
    `proxy_set_header X-Real-Port $remote_port; proxy_set_header X-clb-stgw-vip $server_addr;
     proxy_set_header Stgw-request-id $stgw_request_id; proxy_set_header X-Forwarded-Port $vport;
     proxy_set_header X-Method $request_method; proxy_set_header X-Uri $uri; proxy_set_header X-Forwarded-Proto https;`,
  );
  await ask(getAndClose('/p?q', 'X-Uri: forged\r\nX-Forwarded-Proto: forged\r\n'));
  const { text } = target.peers[0]!;
  expect(text).toMatch(/X-Real-Port: \d+\r\n/);
  expect(text).toContain('X-clb-stgw-vip: 127.0.0.1\r\n');
  expect(text).toMatch(/Stgw-request-id: [0-9a-f]{32}\r\n/);
  expect(text).toContain(`X-Forwarded-Port: ${port}\r\n`);
  expect(text).toContain('X-Method: GET\r\n');
  expect(text).toContain('X-Uri: /p\r\n');
  expect(text.match(/^X-Forwarded-Proto: .*$/gm)).toEqual(['X-Forwarded-Proto: https']);
  expect(text).not.toContain('forged');
});

test('error_page redirects errors of the proxy, with the status that it names', async () => {
  const dead = await origin();
  await dead.close();
  const { ask } = await serve(dead.url, 'error_page 502 503 /sorry.html; error_page 413 =307 /large;', {
    bodyBytesMax: 10,
  });
  expect(await ask(getAndClose())).toMatch(/^HTTP\/1\.1 302 Found\r\n[^]*Location: \/sorry\.html\r\n/);
  const large = await ask('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n');
  expect(large).toMatch(/^HTTP\/1\.1 307 [^]*Location: \/large\r\n/);
});

test('http2_max_field_size refuses a larger field', async () => {
  const target = await okOrigin();
  const { port } = await serve(target.url, 'http2_max_field_size 1k;');
  const session = http2.connect(`http://127.0.0.1:${port}`);
  onTestFinished(() => session.destroy());
  const status = async (size: number): Promise<number> => {
    const stream = session.request({ ':path': '/', 'x-field': 'x'.repeat(size) });
    const [headers] = (await once(stream, 'response')) as [Record<string, number>];
    stream.resume();
    return headers[':status']!;
  };
  expect(await status(900)).toBe(200);
  expect(await status(1100)).toBe(431);
});

test('send_timeout ends a client that reads nothing', async () => {
  const target = await origin((_, peer) => {
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n');
    const block = Buffer.alloc(1024 * 1024);
    for (let sent = 0; sent < 20; sent++) peer.socket.write(block);
  });
  const { client } = await serve(target.url, 'send_timeout 1s;', { sendTimeoutMs: 200 });
  const peer = await client();
  peer.write(get());
  await peer.has('200 OK');
  peer.socket.pause();
  await expect.poll(() => target.peers[0]!.isClosed, { timeout: 3000 }).toBe(true);
});

test('what a rule says itself stands before its personalised config', async () => {
  const target = await okOrigin();
  const { ask } = await serve(target.url, 'client_max_body_size 5M;', {}, { bodyBytesMax: 10 });
  expect(bodyOf(await ask('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n'))).toContain('body-too-large');
});

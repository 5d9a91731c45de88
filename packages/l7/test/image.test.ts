// Images: swapped under traffic, refused whole, told apart by VIP, explained.
import net from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { ProxyImage } from '@openclb/model';
import { ImageRefused } from '../src/index.ts';
import { compileImage, compileInSlices, EMPTY_IMAGE } from '../src/image.ts';
import { imageOf, stableId } from '../src/simple.ts';
import {
  bodyOf,
  connect,
  freePort,
  get,
  getAndClose,
  named,
  OK,
  okOrigin,
  origin,
  sleep,
  start,
  statusOf,
} from './kit.ts';

describe('an image', () => {
  const imageWith = async (
    url: string,
    change: (image: ProxyImage) => void = () => {},
    host = '127.0.0.1',
    port = 0,
  ) => {
    const image = await imageOf({ listen: { host, port }, targets: [url] });
    change(image);
    return image;
  };

  test('is swapped without closing a connection, a pool or a tunnel', async () => {
    const [a, b] = await Promise.all([named('a'), named('b')]);
    const { proxy, client } = await start({ targets: [a.url] });
    const upgraded = await origin();
    const idle = await client();
    idle.write(get());
    expect(bodyOf((await idle.has(/a$/)).take())).toBe('a');
    await proxy.apply(await imageWith(upgraded.url, undefined));
    const tunnel = await client();
    tunnel.write(get('/', 'Connection: Upgrade\r\nUpgrade: x\r\n'));
    const far = await upgraded.connection();
    await far.has('\r\n\r\n');
    far.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n');
    await tunnel.has('101');
    await proxy.apply(await imageWith(b.url));
    idle.write(get());
    expect(bodyOf((await idle.has(/b$/)).take())).toBe('b');
    tunnel.write('still here');
    await far.has('still here');
    await proxy.apply(await imageWith(a.url));
    idle.write(get());
    expect(bodyOf((await idle.has(/a$/)).take())).toBe('a');
  });

  test('that changes a weight keeps the pool of its target', async () => {
    const a = await named('a');
    const { proxy, ask } = await start({ targets: [a.url] });
    await ask(getAndClose());
    await proxy.apply(await imageWith(a.url, (image) => void (image.groups[0]!.targets[0]!.weight = 7)));
    await ask(getAndClose());
    expect(a.peers).toHaveLength(1);
    await proxy.apply(
      await imageWith(
        a.url,
        (image) =>
          void ((image.targets[0]!.id = stableId('another target')),
          (image.groups[0]!.targets[0]!.target = stableId('another target'))),
      ),
    );
    await ask(getAndClose());
    expect(a.peers).toHaveLength(2);
    await a.peers[0]!.ended();
  });

  test('that is broken is refused with a reason and the one before keeps serving', async () => {
    const a = await okOrigin();
    const { proxy, ask } = await start({ targets: [a.url] });
    const breakages: ((image: ProxyImage) => void)[] = [
      (image) => void (image.groups[0]!.targets[0]!.target = stableId('nobody')),
      (image) => void (image.listeners[0]!.rules[0]!.group = stableId('nobody')),
      (image) => void (image.listeners[0]!.rules[0]!.domain = '~(a)\\1'),
      (image) => void image.listeners.push({ ...image.listeners[0]!, id: stableId('second') }),
      (image) => void (image.listeners[0]!.protocol = 'https'),
      (image) => void (image.listeners[0]!.protocol = 'tcp'),
      (image) => void ((image as unknown as Record<string, unknown>)['surprise'] = 1),
      (image) => void (image.listeners[0]!.port = 70_000),
    ];
    for (const change of breakages) {
      await expect(imageWith(a.url, change).then((image) => proxy.apply(image))).rejects.toThrow(ImageRefused);
    }
    const taken = await okOrigin();
    await expect(
      imageWith(a.url, undefined, '127.0.0.1', taken.port).then((image) => proxy.apply(image)),
    ).rejects.toThrow('EADDRINUSE');
    expect(statusOf(await ask(getAndClose()))).toBe(200);
  });

  test('of which one part cannot be had is refused whole: no listener opens, none moves', async () => {
    const a = await named('a');
    const { proxy, ask } = await start({ targets: [a.url], readyHost: '127.0.0.1' });
    const [ready, added] = [await okOrigin(), await freePort()];
    const image = await imageWith(a.url, (image) => {
      image.readyPort = ready.port;
      image.listeners.push({ ...image.listeners[0]!, id: stableId('added'), port: added });
      image.listeners[0]!.rules = [];
    });
    await expect(proxy.apply(image)).rejects.toThrow('EADDRINUSE');
    await expect(connect(added)).rejects.toThrow('ECONNREFUSED');
    expect(bodyOf(await ask(getAndClose()))).toBe('a');
  });

  test('serves IPv6 clients and IPv6 targets', async (context) => {
    const target = await named('six');
    const six = net.createServer(
      (socket) =>
        void socket
          .pipe(net.connect(target.port, '127.0.0.1'))
          .pipe(socket)
          .on('error', () => {}),
    );
    const hasSix = await new Promise<boolean>((resolve) => {
      six.once('error', () => resolve(false));
      six.listen(0, '::1', () => resolve(true));
    });
    context.skip(!hasSix, 'needs the IPv6 loopback address');
    onTestFinished(() => void six.close());
    const { proxy } = await start({
      targets: [`http://[::1]:${(six.address() as net.AddressInfo).port}`],
      listen: { host: '::1', port: 0 },
    });
    const peer = await connect(proxy.addresses()[0]!.port, { host: '::1' });
    peer.write(getAndClose());
    await peer.ended();
    expect(bodyOf(peer.text)).toBe('six');
    expect(target.peers[0]!.text).toMatch(/X-Real-IP: ::1\r\n.*X-Forwarded-For: ::1\r\n/s);
  });

  test('that drops a listener ends its connections after their answer', async () => {
    const slow = await origin((_, peer) => void setTimeout(() => peer.write(OK), 100));
    const { proxy, client, port } = await start({ targets: [slow.url] });
    const peer = await client();
    peer.write(get());
    await slow.connection();
    await proxy.apply(await imageWith(slow.url, (image) => void (image.listeners = [])));
    await peer.ended();
    expect(peer.text).toMatch(/^HTTP\/1\.1 200 .*Connection: close\r\n\r\nok$/s);
    await expect(connect(port)).rejects.toThrow('ECONNREFUSED');
  });

  test('with two VIPs on one port is told apart by the address that was called; another address is nobody', async () => {
    const [a, b] = await Promise.all([named('a'), named('b')]);
    const { proxy } = await start({ targets: [a.url], bind: 'wildcard', listen: { host: '127.0.2.1', port: 0 } });
    const { port } = proxy.addresses()[0]!;
    await proxy.apply(
      await imageWith(
        a.url,
        (image) => {
          const second = structuredClone(image.listeners[0]!);
          image.targets.push({ ...image.targets[0]!, id: stableId('b'), port: b.port });
          image.groups.push({
            ...image.groups[0]!,
            id: stableId('group b'),
            targets: [{ target: stableId('b'), weight: 1 }],
          });
          second.vips = ['127.0.2.2'];
          second.id = stableId('second');
          second.rules[0]!.group = stableId('group b');
          image.listeners.push(second);
        },
        '127.0.2.1',
        port === 0 ? 0 : await freePort(),
      ),
    );
    const { port: now } = proxy.addresses()[0]!;
    expect(proxy.addresses()).toHaveLength(1);
    const from = async (host: string): Promise<string> => {
      const peer = await connect(now, { host });
      peer.write(getAndClose());
      await peer.ended();
      return bodyOf(peer.text);
    };
    expect(await from('127.0.2.1')).toBe('a');
    expect(await from('127.0.2.2')).toBe('b');
    expect(await from('127.0.2.3')).toBe('');
    expect(proxy.counters().failures['vip-unknown']).toBe(1);
  });

  test('of 10,000 rules is applied within a second and routes at once', async () => {
    const a = await named('a');
    const { proxy, ask } = await start({ targets: [a.url] });
    const image = await imageWith(a.url, ({ listeners: [listener] }) => {
      const [rule] = listener!.rules;
      listener!.rules = Array.from({ length: 10_000 }, (_, index) => ({
        ...rule!,
        id: stableId(`rule ${index}`),
        domain: `d${index % 100}.test`,
        path: `/p${index}/`,
      }));
    });
    const startedAt = performance.now();
    await proxy.apply(image);
    // The promise is one second; a busy machine is given more.
    expect(performance.now() - startedAt).toBeLessThan(3000);
    expect(bodyOf(await ask('GET /p4242/x HTTP/1.1\r\nHost: d42.test\r\nConnection: close\r\n\r\n'))).toBe('a');
    expect(statusOf(await ask('GET /p4242/x HTTP/1.1\r\nHost: d41.test\r\nConnection: close\r\n\r\n'))).toBe(404);
  });

  test('of 10,000 rules is compiled in slices: requests go on in between, and what checks find meanwhile is not lost', async () => {
    const source = await imageWith('http://127.0.0.1:1', ({ listeners: [listener], groups: [group] }) => {
      group!.check = { ...group!.check, type: 'tcp' };
      const [rule] = listener!.rules;
      const policy = { requestHeaders: [{ action: 'set' as const, name: 'x-a', value: '$remote_addr' }] };
      listener!.rules = Array.from({ length: 10_000 }, (_, index) => ({
        ...rule!,
        id: stableId(`rule ${index}`),
        domain: `d${index % 100}.test`,
        path: `/p${index}/`,
        policy,
      }));
    });
    const before = compileImage(source, EMPTY_IMAGE, []);
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    onTestFinished(() => clearInterval(timer));
    const compiling = compileInSlices(source, before, []);
    await sleep(5);
    const [group] = [...before.groups.values()];
    expect(group!.members[0]!.health).toBe('unknown');
    group!.members[0]!.health = 'dead';
    group!.refresh();
    const after = await compiling;
    expect(turns).toBeGreaterThan(2);
    expect([...after.groups.values()][0]!.members[0]!.health).toBe('dead');
    expect(after.listeners[0]!.routes.rules).toHaveLength(10_000);
  });

  test('tells readiness on its own port', async () => {
    const a = await okOrigin();
    const { proxy } = await start({ targets: [a.url], readyHost: '127.0.0.1' });
    const port = await freePort();
    await proxy.apply(await imageWith(a.url, (image) => void (image.readyPort = port)));
    expect(proxy.readyPort).toBe(port);
    expect((await fetch(`http://127.0.0.1:${port}/ready`)).status).toBe(200);
    expect((await fetch(`http://127.0.0.1:${port}/else`)).status).toBe(404);
  });

  test('is explained as it acts', async () => {
    const [a, b] = await Promise.all([named('a'), named('b')]);
    const { proxy, port } = await start({
      routes: [{ domain: 'a.test', path: '/abc/', targets: [a.url, { url: b.url, weight: 0 }] }],
    });
    const about = proxy.explain({ port: 0, host: 'a.test', target: '/abc/x' });
    expect(about.status).toBeNull();
    expect(about.candidates.map(({ target }) => target)).toEqual([`127.0.0.1:${a.port}`]);
    expect(proxy.explain({ port: 0, host: 'a.test', target: '/abc' }).status).toBe(301);
    expect(proxy.explain({ port: 0, host: 'b.test', target: '/abc' }).status).toBe(404);
    expect(proxy.explain({ port: port + 1, host: 'b.test', target: '/abc' }).listener).toBeNull();
  });
});

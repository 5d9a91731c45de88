// What relay listeners do with connections and datagrams: limits, networks, PROXY protocol of their own, idle times, logs, live change.
import dgram from 'node:dgram';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { ProxyImage } from '@openclb/model';
import { type ConnectionRecord, createProxy } from '../src/index.ts';
import { imageOf } from '../src/simple.ts';
import { connect, origin, sleep } from './kit.ts';

type Row = ProxyImage['listeners'][number];

async function relay(protocol: 'tcp' | 'udp', urls: readonly string[], fields: Partial<Row>) {
  const records: ConnectionRecord[] = [];
  const proxy = await createProxy({
    bind: 'vips',
    readyHost: '127.0.0.1',
    connectionLog: (record) => void records.push(record),
    limits: { connectTimeoutMs: 200, readTimeoutMs: 200, keepAliveTimeoutMs: 200, headTimeoutMs: 200, drainMs: 50 },
  });
  onTestFinished(() => proxy.close());
  let revision = 0;
  const apply = async (more: Partial<Row>, targets = urls): Promise<void> => {
    const made = await imageOf({ listen: { host: '127.0.0.1', port: 0 }, targets });
    const [listener] = made.listeners;
    const row: Row = { ...listener!, protocol, rules: [], group: made.groups[0]!.id, scheduler: 'wrr', ...more };
    await proxy.apply({ ...made, generation: { revision: ++revision, compiler: 1 }, listeners: [row] });
  };
  await apply(fields);
  return { proxy, records, apply, port: proxy.addresses()[0]!.port };
}

const gone = { isEnded: true };

describe('a TCP relay', () => {
  test('reads PROXY v1 from a trusted sender and writes v2 to the target with the same client', async () => {
    const target = await origin();
    const { port } = await relay('tcp', [target.url], {
      relay: { proxyProtocol: 'v2', proxyProtocolFrom: ['127.0.0.0/8'] },
    });
    const peer = await connect(port);
    peer.write('PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\nhello');
    const far = await target.connection();
    await far.has('hello');
    const header = Buffer.from(far.text, 'latin1');
    expect(header.subarray(16, 20)).toEqual(Buffer.from([192, 0, 2, 7]));
    expect(header.readUInt16BE(24)).toBe(4711);
  });

  test('keeps to its limits of connections for the listener, for a client and for a target', async () => {
    const [a, b] = [await origin(), await origin()];
    const { port, proxy } = await relay('tcp', [a.url, b.url], {
      relay: { connectionsPerTargetMax: 1, connectionsMax: 5 },
    });
    const peers = [await connect(port), await connect(port)];
    await a.connection();
    await b.connection();
    // A reset may come before the connection is seen to be there.
    await connect(port).then(
      (peer) => peer.ended(),
      () => {},
    );
    expect(proxy.counters().failures).toMatchObject({ 'target-full': 1 });
    peers[0]!.socket.resetAndDestroy();
    await sleep(30);
    const fourth = await connect(port);
    fourth.write('x');
    await sleep(50);
    expect(fourth).not.toMatchObject(gone);
  });

  test('lets in allowed networks alone', async () => {
    const target = await origin();
    const { port, proxy, apply } = await relay('tcp', [target.url], { relay: { allow: ['192.0.2.0/24'] } });
    await connect(port).then(
      (peer) => peer.ended(),
      () => {},
    );
    expect(proxy.counters().failures['source-denied']).toBe(1);
    await apply({ port: 0, relay: { allow: ['127.0.0.0/8'], deny: ['127.0.0.2'] } });
    const peer = await connect(proxy.addresses()[0]!.port);
    peer.write('in');
    await (await target.connection()).has('in');
  });

  test('ends a silent connection after its idle time and writes what was', async () => {
    const target = await origin();
    const { port, records, proxy } = await relay('tcp', [target.url], { idleSeconds: 1 });
    const peer = await connect(port);
    peer.write('four');
    await (await target.connection()).has('four');
    await peer.ended();
    expect(records).toMatchObject([
      { failure: 'idle', bytesIn: 4, bytesOut: 0, attempts: 1, remoteAddress: '127.0.0.1' },
    ]);
    expect(records[0]!.durationMs).toBeGreaterThan(800);
    expect(proxy.counters().bytesIn).toBe(4);
  });

  test('keeps connections when its targets change, and rests one that refuses', async () => {
    const [old, next, dead] = [await origin(), await origin(), await origin()];
    await dead.close();
    const { port, apply, records } = await relay('tcp', [old.url], {});
    const peer = await connect(port);
    peer.write('one');
    const far = await old.connection();
    await far.has('one');
    await apply({}, [dead.url, next.url]);
    peer.write('two');
    await far.has('two');
    for (let index = 0; index < 10; index++) {
      const other = await connect(port);
      other.write('x');
      await (await next.connection(index)).has('x');
      other.socket.end();
      (await next.connection(index)).socket.end();
      await other.ended();
    }
    // After three refusals the dead target is asked no more, so the later connections needed one attempt each.
    expect(records.filter(({ attempts }) => attempts > 1)).toHaveLength(3);
  });
});

describe('a UDP relay', () => {
  async function echo(name: string): Promise<{ url: string; seen: Buffer[] }> {
    const seen: Buffer[] = [];
    const server = dgram.createSocket('udp4');
    server.on('message', (message, peer) => {
      seen.push(message);
      server.send(`${name} ${message.toString('latin1')}`, peer.port, peer.address);
    });
    await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    return { url: `http://127.0.0.1:${server.address().port}`, seen };
  }

  function ask(port: number, text: string, socket = dgram.createSocket('udp4')): Promise<string | null> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(null), 300);
      socket.once('message', (message) => {
        clearTimeout(timer);
        resolve(message.toString());
      });
      socket.send(text, port, '127.0.0.1');
      onTestFinished(() => {
        try {
          socket.close();
        } catch {
          // Used by an earlier question of the same test.
        }
      });
    });
  }

  test('keeps a session on its target, within its limits, and logs it', async () => {
    const [a, b] = [await echo('a'), await echo('b')];
    const { port, proxy, records } = await relay('udp', [a.url, b.url], {
      idleSeconds: 1,
      relay: { connectionsPerClientMax: 2 },
    });
    const socket = dgram.createSocket('udp4');
    const answers = [await ask(port, '1', socket), await ask(port, '2', socket)];
    expect(answers[0]![0]).toBe(answers[1]![0]);
    expect(await ask(port, 'x')).not.toBeNull();
    expect(await ask(port, 'x')).toBeNull();
    expect(proxy.counters().failures['client-full']).toBe(1);
    for (let left = 100; left > 0 && records.length < 2; left--) await sleep(50);
    expect(records.map(({ failure, protocol }) => `${protocol} ${failure}`)).toEqual(['udp idle', 'udp idle']);
    expect(records.map(({ bytesIn }) => bytesIn).sort()).toEqual([1, 2]);
    expect(await ask(port, 'again')).not.toBeNull();
  });

  test('leaves a target whose port is closed', async () => {
    const closed = dgram.createSocket('udp4');
    await new Promise<void>((resolve) => closed.bind(0, '127.0.0.1', resolve));
    const dead = `http://127.0.0.1:${closed.address().port}`;
    await new Promise<void>((resolve) => closed.close(() => resolve()));
    const live = await echo('live');
    const { port } = await relay('udp', [dead, live.url], {});
    const answers: (string | null)[] = [];
    for (let index = 0; index < 8; index++) answers.push(await ask(port, 'x'));
    expect(answers.filter((answer) => answer === null)).toHaveLength(3);
    expect(answers.at(-1)).toBe('live x');
  });

  test('writes PROXY v2 before every datagram where it is told to', async () => {
    const target = await echo('t');
    const { port } = await relay('udp', [target.url], { relay: { proxyProtocol: 'v2' } });
    await ask(port, 'data');
    expect(target.seen[0]!.subarray(12, 14)).toEqual(Buffer.from([0x21, 0x12]));
    expect(target.seen[0]!.subarray(28).toString()).toBe('data');
  });
});

// Terminating TCP and UDP listeners: what `clb up` uses without root.
import dgram from 'node:dgram';
import net from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { ProxyImage } from '@openclb/model';
import { proxyHeader } from '../src/index.ts';
import { addressBytes } from '../src/relay/proxy-protocol.ts';
import { imageOf, stableId } from '../src/simple.ts';
import { connect, origin, start } from './kit.ts';

/** The image of one relay listener on the given port. */
async function relayImage(protocol: 'tcp' | 'udp', url: string, port: number): Promise<ProxyImage> {
  const image = await imageOf({ listen: { host: '127.0.0.1', port }, targets: [url] });
  const [listener] = image.listeners;
  return { ...image, listeners: [{ ...listener!, protocol, rules: [], group: image.groups[0]!.id, scheduler: 'wrr' }] };
}

describe('relays', () => {
  test('join TCP connections byte by byte, half-close and reset included', async () => {
    const target = await origin();
    const { proxy } = await start({ targets: [target.url] });
    await proxy.apply(await relayImage('tcp', target.url, 0));
    const { port } = proxy.addresses()[0]!;
    const peer = await connect(port);
    peer.write('not \0 http');
    const far = await target.connection();
    await far.has('not \0 http');
    far.write('server speaks');
    await peer.has('server speaks');
    peer.socket.end('bye');
    await far.has('bye');
    await far.ended();
    far.write('late answer');
    await peer.has('late answer');
    far.socket.end();
    await peer.ended();
    const second = await connect(port);
    second.write('x');
    await (await target.connection(1)).has('x');
    second.socket.resetAndDestroy();
    await (await target.connection(1)).ended();
    expect(target.peers[1]!.wasReset || target.peers[1]!.isEnded).toBe(true);
  });

  test('let a server speak first and leave a target that refuses', async () => {
    const dead = await origin();
    await dead.close();
    const target = net.createServer((socket) => void socket.end('welcome'));
    await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void target.close());
    const { proxy } = await start({ targets: [dead.url] });
    const image = await relayImage('tcp', dead.url, 0);
    const { port: good } = target.address() as net.AddressInfo;
    image.targets.push({ ...image.targets[0]!, id: stableId('good'), port: good });
    image.groups[0]!.targets.push({ target: stableId('good'), weight: 1 });
    await proxy.apply(image);
    for (let round = 0; round < 3; round++) {
      const peer = await connect(proxy.addresses()[0]!.port);
      await peer.ended();
      expect(peer.text).toBe('welcome');
    }
  });

  test.each(['v1', 'v2'] as const)('say PROXY %s first when asked to', async (version) => {
    const target = await origin();
    const { proxy } = await start({ targets: [target.url], proxyProtocol: version });
    await proxy.apply(await relayImage('tcp', target.url, 0));
    const peer = await connect(proxy.addresses()[0]!.port);
    peer.write('data');
    const far = await target.connection();
    await far.has('data');
    const { localPort = 0, remotePort = 0 } = peer.socket;
    const ports = Buffer.alloc(4);
    ports.writeUInt16BE(localPort, 0);
    ports.writeUInt16BE(remotePort, 2);
    const expected = {
      v1: `PROXY TCP4 127.0.0.1 127.0.0.1 ${localPort} ${remotePort}\r\n`,
      v2: Buffer.from(`0d0a0d0a000d0a515549540a2111000c7f0000017f000001${ports.toString('hex')}`, 'hex').toString(
        'latin1',
      ),
    };
    expect(far.text).toBe(`${expected[version]}data`);
  });

  test('write IPv6 addresses of PROXY v2 in network order', () => {
    const six = { clientAddress: '2001:db8::1', clientPort: 1, vip: '2001:db8::ffff:10.0.0.1', vport: 2 };
    expect(proxyHeader('v2', six).subarray(12, 16).toString('hex')).toBe('21210024');
    expect(addressBytes('2001:db8::ffff:10.0.0.1').toString('hex')).toBe('20010db8000000000000ffff0a000001');
    expect(addressBytes('::').toString('hex')).toBe('0'.repeat(32));
    expect(addressBytes('1:2:3:4:5:6:7:8').toString('hex')).toBe('00010002000300040005000600070008');
  });

  test('give each UDP client its own way and its own answers', async () => {
    const server = dgram.createSocket('udp4');
    server.on('message', (message, peer) => server.send(`${message.toString()} seen`, peer.port, peer.address));
    await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { proxy } = await start({ targets: ['http://127.0.0.1:1'] });
    await proxy.apply(await relayImage('udp', `http://127.0.0.1:${server.address().port}`, 0));
    const { port } = proxy.addresses()[0]!;
    const answers = await Promise.all(
      ['one', 'two', 'three'].map(async (text) => {
        const socket = dgram.createSocket('udp4');
        onTestFinished(() => void socket.close());
        const answer = new Promise<string>((resolve) =>
          socket.once('message', (message) => resolve(message.toString())),
        );
        socket.send(text, port, '127.0.0.1');
        return answer;
      }),
    );
    expect(answers).toEqual(['one seen', 'two seen', 'three seen']);
  });
});

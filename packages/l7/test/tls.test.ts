// HTTPS listeners: certificate by SNI, bodies through TLS, what is no TLS, handshakes that go nowhere.
import tls from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { TlsProvider } from '../src/index.ts';
import { imageOf } from '../src/simple.ts';
import { CERTIFICATES } from './certificates.ts';
import { get, getAndClose, okOrigin, origin, Peer, start } from './kit.ts';

describe('TLS', () => {
  const certificates = (id: string) => CERTIFICATES[id];
  const secure = async (port: number, servername?: string): Promise<{ peer: Peer; name: string }> => {
    const socket = tls.connect({
      port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ...(servername === undefined ? {} : { servername }),
    });
    const peer = new Peer(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
    });
    onTestFinished(() => void socket.destroy());
    return { peer, name: String(socket.getPeerCertificate().subject.CN) };
  };

  test('chooses the certificate by name and tells the target that the client spoke https', async () => {
    const target = await okOrigin();
    const { port } = await start({
      targets: [target.url],
      certificateIds: ['a.test', '*.b.test'],
      certificates,
    });
    expect((await secure(port, 'x.b.test')).name).toBe('*.b.test');
    expect((await secure(port, 'nobody.test')).name).toBe('a.test');
    const { peer, name } = await secure(port, 'a.test');
    expect(name).toBe('a.test');
    peer.write(get());
    await peer.has('ok');
    expect(target.peers[0]!.text).toContain('X-Client-Proto: https\r\nX-Forwarded-Proto: https\r\n');
    peer.write(getAndClose());
    await peer.ended();
    expect(peer.text.match(/200 OK/g)).toHaveLength(2);
  });

  test('carries large bodies both ways', async () => {
    const target = await origin(
      (head, peer) => void peer.write(`HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n${'y'.repeat(3_000_000)}`),
    );
    const { port } = await start({
      targets: [target.url],
      certificateIds: ['a.test'],
      certificates,
    });
    const { peer } = await secure(port);
    peer.write(`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2000000\r\n\r\n${'x'.repeat(2_000_000)}`);
    await peer.gets(3_000_000);
    expect(target.peers[0]!.text.match(/x/g)!.length).toBeGreaterThanOrEqual(2_000_000);
    expect(peer.text.slice(peer.text.indexOf('\r\n\r\n') + 4)).toBe('y'.repeat(3_000_000));
  });

  test('cuts a client off when the response is cut short', async () => {
    const target = await origin((_, peer) => {
      peer.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello');
      setTimeout(() => peer.socket.destroy(), 30);
    });
    const { port } = await start({ targets: [target.url], certificateIds: ['a.test'], certificates });
    const { peer } = await secure(port);
    peer.write(get());
    await peer.ended();
    expect(peer.text).toMatch(/hello$/);
  });

  test('answers plain HTTP on its port with 400', async () => {
    const target = await okOrigin();
    const { ask, proxy } = await start({
      targets: [target.url],
      certificateIds: ['a.test'],
      certificates,
    });
    expect(await ask(getAndClose())).toMatch(/^HTTP\/1\.1 400 .*plain-on-tls/s);
    expect(proxy.counters().failures['plain-on-tls']).toBe(1);
  });

  test('is taken off by a relay listener, whatever is inside', async () => {
    const target = await origin();
    const { proxy } = await start({ targets: [target.url], certificates });
    const image = await imageOf({ listen: 0, targets: [target.url] });
    const [listener] = image.listeners;
    image.listeners = [
      { ...listener!, protocol: 'tcp-ssl', certificates: ['a.test'], rules: [], group: image.groups[0]!.id },
    ];
    await proxy.apply(image);
    const { peer, name } = await secure(proxy.addresses()[0]!.port, 'a.test');
    expect(name).toBe('a.test');
    peer.write('not http');
    const far = await target.connection();
    await far.has('not http');
    far.write('nor is this');
    await peer.has('nor is this');
    peer.socket.end('bye');
    await far.has('bye');
    await far.ended();
    far.write('late');
    await peer.has('late');
    far.socket.end();
    await peer.ended();
  });

  test('ends a handshake that goes nowhere', async () => {
    const { client, proxy } = await start({
      targets: ['http://127.0.0.1:1'],
      certificateIds: ['a.test'],
      certificates,
      limits: { handshakeTimeoutMs: 100 },
    });
    const silent = await client();
    const half = await client();
    half.write(Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]));
    await Promise.all([silent.ended(), half.ended()]);
    expect(proxy.counters().failures['handshake-failed']).toBe(2);
  });

  test('without its certificate refuses the image', async () => {
    await expect(start({ targets: ['http://127.0.0.1:1'], certificateIds: ['a.test'] })).rejects.toThrow(
      /a\.test, which is not here/,
    );
  });

  test('leaves records of another version to a second provider on the same port', async () => {
    const target = await okOrigin();
    const seen: Buffer[] = [];
    // TLCP (GB/T 38636) begins with 16 01 01. This one takes five bytes for a handshake and speaks in plain behind it.
    const tlcp: TlsProvider = {
      name: 'tlcp',
      claims: (first) => first[0] === 0x16 && first[1] === 1 && first[2] === 1,
      accept: (socket, listener) =>
        new Promise((resolve) => {
          socket.once('data', (chunk: Buffer) => {
            socket.pause();
            seen.push(chunk.subarray(0, 5));
            if (chunk.length > 5) socket.unshift(chunk.subarray(5));
            resolve({
              socket,
              serverName: listener.name,
              alpn: '',
              clientFields: 'X-Client-Verify: SM2\r\n',
              isMisdirected: () => false,
            });
          });
          socket.resume();
        }),
    };
    const { port, client, proxy } = await start({
      targets: [target.url],
      certificateIds: ['a.test'],
      certificates,
      tlsProviders: [tlcp],
    });
    const stranger = await client();
    stranger.write(Buffer.from([0x16, 1, 1, 0, 0])).write(getAndClose());
    await stranger.has('\r\n\r\nok');
    expect(seen).toEqual([Buffer.from([0x16, 1, 1, 0, 0])]);
    expect(target.peers[0]!.text).toContain('X-Client-Verify: SM2\r\n');
    expect(target.peers[0]!.text).toContain('X-Forwarded-Proto: https\r\n');
    const { peer } = await secure(port, 'a.test');
    peer.write(getAndClose());
    await peer.has('\r\n\r\nok');
    const nobody = await client();
    nobody.write(Buffer.from([0x16, 9, 9, 0, 0]));
    await nobody.ended();
    expect(proxy.counters().responses[2]).toBe(2);
  });

  test('resumes a session on any proxy with the same ticket secret, until it changes', async () => {
    const target = await okOrigin();
    const of = (secret: Buffer) =>
      start({ targets: [target.url], certificateIds: ['a.test'], certificates, ticketSecret: secret });
    const [one, two] = await Promise.all([of(Buffer.alloc(32, 1)), of(Buffer.alloc(32, 1))]);
    const ask = (port: number, session?: Buffer): Promise<{ session: Buffer; isReused: boolean }> =>
      new Promise((resolve, reject) => {
        const options = { port, host: '127.0.0.1', servername: 'a.test', rejectUnauthorized: false };
        const socket = tls.connect({ ...options, ...(session === undefined ? {} : { session }) });
        let given: Buffer = Buffer.alloc(0);
        let isReused = false;
        socket.on('session', (ticket: Buffer) => (given = ticket));
        socket.on('error', reject);
        socket.on('secureConnect', () => {
          isReused = socket.isSessionReused();
          socket.write(getAndClose());
        });
        socket.on('close', () => resolve({ session: given, isReused }));
        socket.resume();
      });
    const { session } = await ask(one.port);
    expect((await ask(two.port, session)).isReused).toBe(true);
    two.proxy.setTicketSecret(Buffer.alloc(32, 2));
    expect((await ask(two.port, session)).isReused).toBe(false);
    one.proxy.setTicketSecret(Buffer.alloc(32, 2));
    expect((await ask(one.port, (await ask(two.port)).session)).isReused).toBe(true);
  });
});

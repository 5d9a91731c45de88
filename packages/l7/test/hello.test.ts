// The name in a ClientHello, from real clients and from bytes that lie.
import net from 'node:net';
import tls from 'node:tls';
import { expect, test } from 'vitest';
import { serverNameOf } from '../src/tls/hello.ts';

const helloOf = async (options: tls.ConnectionOptions): Promise<Buffer> => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const got = new Promise<Buffer>((resolve) =>
    server.once('connection', (socket) =>
      socket.once('data', (bytes: Buffer) => {
        resolve(bytes);
        socket.destroy();
      }),
    ),
  );
  tls.connect({ ...options, port, host: '127.0.0.1' }).on('error', () => {});
  const bytes = await got;
  server.close();
  return bytes;
};

test('is found whole, in one byte at a time, and split over records', async () => {
  const hello = await helloOf({ servername: 'A.Example.test' });
  expect(serverNameOf(hello)).toBe('a.example.test');
  for (let length = 0; length < hello.length; length++) expect(serverNameOf(hello.subarray(0, length))).toBeNull();
  const parts = [];
  for (let at = 5; at < hello.length; at += 50) {
    const part = hello.subarray(at, at + 50);
    parts.push(Buffer.from([22, 3, 1, 0, part.length]), part);
  }
  expect(serverNameOf(Buffer.concat(parts))).toBe('a.example.test');
});

test('is empty where a client sends none and where the bytes are no hello', async () => {
  expect(serverNameOf(await helloOf({ servername: '' }))).toBe('');
  expect(serverNameOf(Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0]))).toBe('');
  expect(serverNameOf(Buffer.from([22, 3, 1, 0, 0]))).toBe('');
  expect(serverNameOf(Buffer.from([22, 3, 1, 255, 255]))).toBe('');
});

test('any byte changed gives a name, none, or a wait for more, never an error or a name that is none', async () => {
  const hello = await helloOf({ servername: 'a.test' });
  const names = new Set<string>();
  for (let at = 0; at < hello.length; at++) {
    for (const byte of [0, 0xff, hello[at]! ^ 1]) {
      const name = serverNameOf(Buffer.from([...hello.subarray(0, at), byte, ...hello.subarray(at + 1)]));
      names.add(name ?? '');
    }
  }
  expect([...names].filter((name) => !/^[a-z0-9_.-]*$/.test(name))).toEqual([]);
  expect(names.has('a.test')).toBe(true);
});

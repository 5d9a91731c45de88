// Everything at once: clients that abort, pipeline and drip, targets that reset, truncate and babble. No answer may reach another
// client, nothing may leak, every exchange is accounted for.
import net from 'node:net';
import { expect, test } from 'vitest';
import { origin, type Peer, sleep, start } from './kit.ts';

const SECONDS = 3;
const CLIENTS = 24;

/** xorshift32. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** The target's moods, by the first part of the path; the second is the request's own number, which the answer must repeat. */
const MOODS: Record<string, (peer: Peer, number: string) => void> = {
  plain: (peer, number) => void peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${number.length}\r\n\r\n${number}`),
  pieces: (peer, number) => {
    const text = `HTTP/1.1 200 OK\r\nContent-Length: ${number.length}\r\n\r\n${number}`;
    const cut = text.length >> 1;
    peer.write(text.slice(0, cut));
    setTimeout(() => peer.write(text.slice(cut)), 3);
  },
  chunked: (peer, number) =>
    void peer.write(
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${number.length.toString(16)}\r\n${number}\r\n0\r\n\r\n`,
    ),
  early: (peer, number) =>
    void peer.write(
      `HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: ${number.length}\r\n\r\n${number}`,
    ),
  closing: (peer, number) => {
    peer.write(`HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${number.length}\r\n\r\n${number}`);
    peer.socket.end();
  },
  unframed: (peer, number) => void peer.socket.end(`HTTP/1.1 200 OK\r\n\r\n${number}`),
  slow: (peer, number) => void setTimeout(() => MOODS['plain']!(peer, number), 15),
  large: (peer, number) =>
    void peer.write(
      `HTTP/1.1 200 OK\r\nContent-Length: ${number.length + 200_000}\r\n\r\n${'.'.repeat(200_000)}${number}`,
    ),
  reset: (peer) => void peer.socket.resetAndDestroy(),
  leave: (peer) => void peer.socket.destroy(),
  truncated: (peer) => void peer.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort'),
  garbage: (peer) => void peer.write('\0\0garbage\r\n\r\n'),
  double: (peer, number) =>
    void peer.write(
      `HTTP/1.1 200 OK\r\nContent-Length: ${number.length}\r\n\r\n${number}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`,
    ),
};
const NAMES = Object.keys(MOODS);

/** Bodies of the complete 200 responses in what a client received, in order. */
function bodiesOf(text: string): string[] {
  const bodies: string[] = [];
  let at = 0;
  for (;;) {
    const end = text.indexOf('\r\n\r\n', at);
    if (end < 0) return bodies;
    const head = text.slice(at, end);
    at = end + 4;
    if (head.startsWith('HTTP/1.1 1')) continue;
    const length = /content-length: (\d+)/i.exec(head);
    let body = '';
    if (length !== null) {
      if (text.length < at + Number(length[1])) return bodies;
      body = text.slice(at, at + Number(length[1]));
      at += body.length;
    } else {
      for (;;) {
        const line = /^([\da-f]+)\r\n/.exec(text.slice(at, at + 20));
        if (line === null) return bodies;
        const size = Number.parseInt(line[1]!, 16);
        body += text.slice(at + line[0].length, at + line[0].length + size);
        at += line[0].length + size + 2;
        if (size === 0) break;
      }
    }
    if (head.startsWith('HTTP/1.1 200')) bodies.push(body.replace(/^\.+/, ''));
  }
}

/** One client life: some requests, then it leaves in one of several ways. Returns what it asked and what it got. */
async function live(
  port: number,
  next: (below: number) => number,
  id: string,
): Promise<{ asked: string[]; got: string[] }> {
  const socket = net.connect(port, '127.0.0.1');
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const asked: string[] = [];
  for (let count = 1 + next(4); count > 0; count--) {
    const number = `${id}-${count}`;
    const mood = NAMES[next(NAMES.length)]!;
    const body = next(3) === 0 ? 'b'.repeat(next(30_000)) : '';
    const framing =
      body === '' ? '' : next(2) === 0 ? `Content-Length: ${body.length}\r\n` : 'Transfer-Encoding: chunked\r\n';
    const sent = framing.startsWith('T') ? `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n` : body;
    const request = `${body === '' ? 'GET' : 'POST'} /${mood}/${number} HTTP/1.1\r\nHost: a.test\r\n${framing}\r\n${sent}`;
    asked.push(number);
    if (next(3) === 0) {
      const cut = next(request.length);
      socket.write(request.slice(0, cut));
      await sleep(next(6));
      socket.write(request.slice(cut));
    } else socket.write(request);
    if (next(2) === 0) await sleep(next(20));
  }
  const way = next(4);
  if (way === 0) socket.destroy();
  else if (way === 1) socket.resetAndDestroy();
  else if (way === 2) socket.end();
  else await sleep(100).then(() => socket.destroy());
  await Promise.race([closed, sleep(1000)]);
  socket.destroy();
  return { asked, got: bodiesOf(text) };
}

test('with every kind of peer misbehaving at once, answers stay with their requests and nothing leaks', async () => {
  const target = await origin((head, peer) => {
    const match = /^\S+ \/(\w+)\/(\S+) /.exec(head)!;
    MOODS[match[1]!]!(peer, match[2]!);
  });
  const second = await origin((head, peer) => {
    const match = /^\S+ \/(\w+)\/(\S+) /.exec(head)!;
    MOODS[match[1]!]!(peer, match[2]!);
  });
  const { proxy, port } = await start({ targets: [target.url, second.url], limits: { readTimeoutMs: 400 } });
  const until = performance.now() + SECONDS * 1000;
  let answered = 0;
  let lives = 0;
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_, client) => {
      const next = random(client * 7919 + 1);
      for (let life = 0; performance.now() < until; life++) {
        const { asked, got } = await live(port, next, `${client}-${life}`);
        lives++;
        answered += got.length;
        // Every body that came belongs to a request of this very connection, and they come in order.
        const order = got.map((body) => asked.indexOf(body));
        expect(order).not.toContain(-1);
        expect(order).toEqual([...order].sort((a, b) => a - b));
      }
    }),
  );
  expect(answered).toBeGreaterThan(CLIENTS * 3);
  expect(lives).toBeGreaterThan(CLIENTS);
  for (let waited = 0; proxy.counters().connectionsOpen > 0 && waited < 3000; waited += 50) await sleep(50);
  const counters = proxy.counters();
  expect(counters.connectionsOpen).toBe(0);
  const { candidates } = proxy.explain({ port: 0, host: 'a.test', target: '/' });
  expect(candidates.map(({ active }) => active)).toEqual([0, 0]);
  const [, informational, good, moved, refused, failed] = counters.responses;
  expect(informational! + moved!).toBe(0);
  // Exchanges cut off by their client before an answer have no status of their own but 499, which counts among the 4xx.
  expect(good! + refused! + failed!).toBe(counters.requests);
  await proxy.close();
});

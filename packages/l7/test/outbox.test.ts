// Writes that are kept back to the end of the turn: together, in order, and before whatever must follow them.
import { expect, test } from 'vitest';
import { Outbox } from '../src/outbox.ts';
import { get, getAndClose, origin, start } from './kit.ts';

test('senders are flushed once, in order, in the turn in which they were added; what they add meanwhile in the next', async () => {
  const outbox = new Outbox();
  const seen: string[] = [];
  const sender = (name: string, then?: () => void) => ({
    flush: () => {
      seen.push(name);
      then?.();
    },
  });
  outbox.add(sender('a', () => outbox.add(sender('c'))));
  outbox.add(sender('b'));
  expect(seen).toEqual([]);
  await new Promise((resolve) => setImmediate(resolve));
  expect(seen).toEqual(['a', 'b']);
  await new Promise((resolve) => setImmediate(resolve));
  expect(seen).toEqual(['a', 'b', 'c']);
});

test('small and large answers of one pipelined connection keep their order, and the last comes before FIN', async () => {
  const bodies: Record<string, string> = { '/s': 'small', '/l': 'L'.repeat(200_000), '/e': '' };
  const target = await origin((head, peer) => {
    const body = bodies[head.slice(4, 6)]!;
    peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  });
  const { client } = await start({ targets: [target.url] });
  const peer = await client();
  peer.write(get('/s') + get('/l') + get('/e') + get('/s') + get('/l') + getAndClose('/s'));
  await peer.ended();
  const answer = (path: string): string =>
    `HTTP/1.1 200 OK\r\nContent-Length: ${bodies[path]!.length}\r\n\r\n${bodies[path]}`;
  const last = answer('/s').replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n');
  expect(peer.text === ['/s', '/l', '/e', '/s', '/l'].map(answer).join('') + last).toBe(true);
});

// The targets' side of a rule on raw sockets: retries and their budget, hedging, time-outs of each kind, mirroring, pages for answers
// of targets, and how each way in which a target can fail is told in the log.
import net from 'node:net';
import tls from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import { CERTIFICATES } from './certificates.ts';
import { bodyOf, freePort, get, getAndClose, named, OK, okOrigin, origin, type Peer, sleep, statusOf } from './kit.ts';
import { startWith, until } from './upstream-kit.ts';

const answering = (status: number, text = 'no') =>
  origin((_, peer) => void peer.write(`HTTP/1.1 ${status} X\r\nContent-Length: ${text.length}\r\n\r\n${text}`));
const post = (body: string): string =>
  `POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`;

describe('a retry', () => {
  test('after a refused status asks another target, and the client sees none of it', async () => {
    const bad = await answering(503);
    const good = await named('good');
    const { ask, records, proxy } = await startWith([bad.url, good.url], { retry: { statuses: [503] } });
    for (let round = 0; round < 4; round++) expect(bodyOf(await ask(getAndClose()))).toBe('good');
    expect(records.some(({ attempts }) => attempts === 2)).toBe(true);
    expect(proxy.counters().retries).toBe(2);
    // The refused answer was whole, so its connection is used again.
    expect(bad.peers).toHaveLength(1);
  });

  test('repeats a body for methods that allow it, and never a POST that was sent', async () => {
    const lost = await origin((_, peer) => void peer.socket.resetAndDestroy());
    const bodies: string[] = [];
    const good = await origin((head, peer) => {
      bodies.push(head.slice(0, 4));
      peer.write(OK);
    });
    const { ask, records } = await startWith(
      [
        { url: lost.url, weight: 50 },
        { url: good.url, weight: 1 },
      ],
      { retry: {} },
    );
    const put = await ask(post('x'.repeat(5000)).replace('POST', 'PUT'));
    expect(statusOf(put)).toBe(200);
    expect(bodies).toEqual(['PUT ']);
    expect(good.peers[0]!.text.endsWith('x'.repeat(5000))).toBe(true);
    expect(statusOf(await ask(post('x')))).toBe(502);
    expect(records.map(({ failure, attempts }) => [failure, attempts])).toEqual([
      ['', 2],
      ['response-missing', 1],
    ]);
  });

  test('is left out for a body that is longer than what is kept', async () => {
    const lost = await origin((_, peer) => void peer.socket.resetAndDestroy());
    const good = await okOrigin();
    const targets = [
      { url: lost.url, weight: 50 },
      { url: good.url, weight: 1 },
    ];
    const { ask, records } = await startWith(targets, { retry: { bodyBytesMax: 100 } });
    expect(statusOf(await ask(post('x'.repeat(101)).replace('POST', 'PUT')))).toBe(502);
    expect(records[0]!.attempts).toBe(1);
  });

  test('follows a try that was too slow, within its own time', async () => {
    const slow = await origin(() => {});
    const good = await named('good');
    const targets = [
      { url: slow.url, weight: 50 },
      { url: good.url, weight: 1 },
    ];
    const { ask, records } = await startWith(targets, { retry: { on: ['timeout'], perTryMs: 100 } }, { limits: {} });
    expect(bodyOf(await ask(getAndClose()))).toBe('good');
    expect(records[0]!.requestMs).toBeLessThan(1500);
    // The slow one was let go.
    await (await slow.connection()).ended();
  });

  test('never runs out of its budget: with every target down, tries stay near requests', async () => {
    const bad = await Promise.all([answering(503), answering(503), answering(503)]);
    const { ask, proxy } = await startWith(
      bad.map(({ url }) => url),
      { retry: { tries: 3, statuses: [503], budgetPercent: 20, minPerSecond: 0 } },
    );
    const answers = await Promise.all(Array.from({ length: 40 }, () => ask(getAndClose())));
    for (const answer of answers) expect(statusOf(answer)).toBe(503);
    const { retries, retriesRefused } = proxy.counters();
    expect(retriesRefused).toBeGreaterThan(0);
    // 20 % of 40 at once may hold two more tries each.
    expect(retries).toBeLessThanOrEqual(2 * 8);
  });
});

describe('a hedge', () => {
  test('asks a second target where the first is slow, and cancels the loser', async () => {
    const slow = await origin(() => {});
    const fast = await named('fast');
    const targets = [
      { url: slow.url, weight: 50 },
      { url: fast.url, weight: 1 },
    ];
    const { ask, proxy, records } = await startWith(targets, { hedge: { delayMs: 50, budgetPercent: 100 } });
    expect(bodyOf(await ask(getAndClose()))).toBe('fast');
    await (await slow.connection()).ended();
    expect(proxy.counters()).toMatchObject({ hedges: 1, hedgesWon: 1 });
    expect(records[0]).toMatchObject({ attempts: 2, upstreamAddress: `127.0.0.1:${fast.port}`, failure: '' });
    // A POST is never sent twice.
    const client = ask(post('x'));
    await sleep(150);
    expect(proxy.counters().hedges).toBe(1);
    (await slow.connection(1)).write(OK);
    expect(statusOf(await client)).toBe(200);
  });

  test('that loses is forgotten, and a first try that dies leaves the answer to it', async () => {
    const peers: Peer[] = [];
    const first = await origin((_, peer) => void peers.push(peer));
    const second = await origin((_, peer) => void peers.push(peer));
    const targets = [
      { url: first.url, weight: 50 },
      { url: second.url, weight: 1 },
    ];
    const { ask } = await startWith(targets, { hedge: { delayMs: 30, budgetPercent: 100 } });
    const won = ask(getAndClose());
    await until(() => peers.length >= 2);
    peers[0]!.write(OK);
    expect(statusOf(await won)).toBe(200);
    await peers[1]!.ended();
    const saved = ask(getAndClose());
    await until(() => peers.length >= 4);
    peers[2]!.socket.resetAndDestroy();
    await sleep(20);
    peers[3]!.write(OK);
    expect(statusOf(await saved)).toBe(200);
  });
});

describe('time-outs', () => {
  test('of the first byte, between reads and of the whole request are told apart', async () => {
    const silent = await origin(() => {});
    const first = await startWith([silent.url], { timeouts: { firstByteMs: 100 } });
    expect(statusOf(await first.ask(getAndClose()))).toBe(504);
    expect(first.records[0]!.failure).toBe('response-timeout');

    const stalls = await origin((_, peer) => void peer.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf'));
    const between = await startWith([stalls.url], { timeouts: { readMs: 100 } });
    const client = await between.client();
    client.write(get());
    await client.ended();
    expect(client.wasReset).toBe(true);
    expect(between.records[0]).toMatchObject({ failure: 'response-timeout', status: 200 });

    const drips = await origin((_, peer) => {
      peer.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n');
      const timer = setInterval(() => peer.write('x'), 20);
      peer.socket.once('close', () => clearInterval(timer));
    });
    const whole = await startWith([drips.url], { timeouts: { requestMs: 200 } });
    const drip = await whole.client();
    drip.write(get());
    await drip.ended();
    expect(drip.wasReset).toBe(true);
    expect(whole.records[0]!.failure).toBe('request-timeout');
  });

  test('are kept as finely as the rule asks, whatever the limits of the proxy are', async () => {
    const silent = await origin(() => {});
    const { ask, records } = await startWith([silent.url], { timeouts: { firstByteMs: 80 } });
    for (let round = 0; round < 3; round++) await ask(getAndClose());
    // The median, because the machine may be busy: with the clock of the defaults it would be beyond half a second.
    const ms = records.map(({ requestMs }) => requestMs).sort((a, b) => a - b)[1]!;
    expect(ms).toBeGreaterThanOrEqual(60);
    expect(ms).toBeLessThan(450);
  });

  test('of sending: a target that takes nothing of a body', async () => {
    const server = net.createServer((socket) => void socket.pause().on('error', () => {}));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as net.AddressInfo;
    const { client, records } = await startWith([`http://127.0.0.1:${port}`], { timeouts: { sendMs: 150 } });
    const peer = await client();
    peer.write(`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 50000000\r\n\r\n`).write(Buffer.alloc(20_000_000));
    await peer.has('504');
    expect(records[0]!.failure).toBe('send-timeout');
  });
});

describe('mirroring', () => {
  test('copies requests with their bodies, and neither a slow nor a dead copy delays the answer', async () => {
    const main = await okOrigin();
    const copy = await origin(() => {});
    const started = await startWith(
      [main.url],
      { mirror: { targetGroup: 'other', inFlightMax: 3, bodyBytesMax: 100 } },
      { mirror: [copy.url] },
    );
    const { ask, proxy } = started;
    expect(statusOf(await ask(post('the body')))).toBe(200);
    const seen = await copy.connection();
    await seen.has('the body');
    expect(seen.text).toMatch(/^POST \/ HTTP\/1\.1\r\nHost: a\.test\r\n[^]*X-Real-IP: 127\.0\.0\.1\r\n/);
    expect(statusOf(await ask(post('x'.repeat(101))))).toBe(200);
    for (let round = 0; round < 5; round++) expect(statusOf(await ask(getAndClose()))).toBe(200);
    expect(proxy.counters()).toMatchObject({ mirrors: 3, mirrorsLeftOut: 4 });
    await copy.close();
    await sleep(20);
    expect(statusOf(await ask(getAndClose()))).toBe(200);
  });

  test('copies a share', async () => {
    const main = await okOrigin();
    const copy = await okOrigin();
    const { client, proxy } = await startWith(
      [main.url],
      { mirror: { targetGroup: 'other', percent: 30, inFlightMax: 1000 } },
      { mirror: [copy.url] },
    );
    const peer = await client();
    for (let round = 0; round < 200; round++) {
      peer.write(get());
      await peer.counts(/200 OK/g, round + 1);
    }
    const { mirrors } = proxy.counters();
    expect(mirrors).toBeGreaterThan(25);
    expect(mirrors).toBeLessThan(110);
  });
});

describe('pages', () => {
  test('stand for answers of targets where the rule says so', async () => {
    const target = await answering(502, 'ugly stack trace');
    const { ask, records } = await startWith([target.url], {
      errorPages: [{ codes: [502], of: 'target', body: '<h1>sorry</h1>' }],
    });
    const answer = await ask(getAndClose());
    expect([statusOf(answer), bodyOf(answer)]).toEqual([502, '<h1>sorry</h1>']);
    expect(records[0]).toMatchObject({ status: 502, upstreamStatus: 502, failure: '' });
    const own = await startWith([target.url], { errorPages: [{ codes: [502], body: 'mine' }] });
    expect(bodyOf(await own.ask(getAndClose()))).toBe('ugly stack trace');
  });
});

describe('targets over TLS', () => {
  const { certificate, privateKey } = CERTIFICATES['a.test']!;
  const secure = async (names: string[]): Promise<string> => {
    const server = tls.createServer({ key: privateKey, cert: certificate }, (socket) => {
      names.push((socket as tls.TLSSocket & { servername: string }).servername);
      socket.on('data', () => socket.write(OK)).on('error', () => {});
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    return `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  };

  test('are spoken to by name, kept alive, and verified where the rule wants it', async () => {
    const names: string[] = [];
    const url = await secure(names);
    const good = await startWith([url], {
      forward: { type: 'https', serverName: 'a.test', verify: true, authority: certificate },
    });
    for (let round = 0; round < 3; round++) expect(statusOf(await good.ask(getAndClose()))).toBe(200);
    expect(names).toEqual(['a.test']);
    const bad = await startWith([url], { forward: { type: 'https', serverName: 'a.test', verify: true } });
    expect(statusOf(await bad.ask(getAndClose()))).toBe(502);
    expect(bad.records[0]!.failure).toBe('target-handshake');
  });
});

describe('chaos: each way to fail has its own word in the log', () => {
  const outcomes: [string, (peer: Peer) => void, string][] = [
    ['resets before an answer', (peer) => void peer.socket.resetAndDestroy(), 'response-missing'],
    ['says FIN before an answer', (peer) => void peer.socket.end(), 'response-missing'],
    [
      'truncates',
      (peer) => void peer.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal').socket.end(),
      'response-truncated',
    ],
    [
      'resets in the middle',
      (peer) => void peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab').socket.destroySoon(),
      'response-truncated',
    ],
    ['answers garbage', (peer) => void peer.write('\x16\x03\x01 not http at all\r\n\r\n'), 'response-malformed'],
    [
      'answers with two lengths',
      (peer) => void peer.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'),
      'response-malformed',
    ],
    [
      'breaks its chunks',
      (peer) => void peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'),
      'response-malformed',
    ],
    ['stalls', () => {}, 'response-timeout'],
  ];
  test.each(outcomes)('%s', async (_, act, failure) => {
    const target = await origin((_head, peer) => act(peer));
    const { ask, records } = await startWith([target.url], { timeouts: { firstByteMs: 100 } });
    await ask(getAndClose());
    expect(records.map((record) => record.failure)).toEqual([failure]);
  });

  test('refuses connections', async () => {
    const { ask, records } = await startWith([`http://127.0.0.1:${await freePort()}`], { timeouts: {} });
    await ask(getAndClose());
    expect(records[0]!.failure).toBe('connect-refused');
  });
});

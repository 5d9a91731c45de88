// What a group does when its targets fail or return: ejection with its cap and back-off, slow start, the all-dead policy, circuit
// breaking, and hashing with bounded load.
import { describe, expect, test } from 'vitest';
import type { CheckSpec } from '@openclb/model';
import { imageOf } from '../src/simple.ts';
import { Group, type Member } from '../src/scheduler.ts';
import { Target } from '../src/upstream.ts';
import { bodyOf, getAndClose, freePort, get, named, OK, origin, type Peer, sleep, statusOf } from './kit.ts';
import { startWith, until } from './upstream-kit.ts';

const failing = (status = 500) =>
  origin((_, peer) => void peer.write(`HTTP/1.1 ${status} X\r\nContent-Length: 3\r\n\r\nbad`));
const CHECK: CheckSpec = { type: 'tcp', intervalMs: 100, timeoutMs: 90, healthyThreshold: 1, unhealthyThreshold: 1 };

describe('ejection', () => {
  test('leaves out a target whose answers fail, and lets it back after its time', async () => {
    let isBroken = true;
    const flaky = await origin(
      (_, peer) => void peer.write(`HTTP/1.1 ${isBroken ? 500 : 200} X\r\nContent-Length: 3\r\n\r\nbad`),
    );
    const good = await named('good');
    const { ask, records } = await startWith(
      [flaky.url, good.url],
      {},
      {
        group: { resilience: { outlier: { failures: 2, statuses: [500], baseSeconds: 1 } } },
      },
    );
    for (let round = 0; round < 4; round++) await ask(getAndClose());
    for (let round = 0; round < 6; round++) expect(bodyOf(await ask(getAndClose()))).toBe('good');
    expect(records.filter(({ status }) => status === 500)).toHaveLength(2);
    isBroken = false;
    const before = flaky.peers.length;
    await sleep(1100);
    for (let round = 0; round < 4; round++) await ask(getAndClose());
    expect(records.slice(-4).filter(({ upstreamAddress }) => upstreamAddress.endsWith(`:${flaky.port}`))).toHaveLength(
      2,
    );
    expect(flaky.peers.length).toBeLessThanOrEqual(before + 1);
  });

  test('stops at its share: the last targets stay in use although they fail', async () => {
    const bad = await Promise.all([failing(), failing(), failing()]);
    const good = await named('good');
    const targets = [...bad.map(({ url }) => url), good.url];
    const { ask, records } = await startWith(
      targets,
      {},
      {
        group: { resilience: { outlier: { failures: 1, statuses: [500], ejectedPercentMax: 50 } } },
      },
    );
    for (let round = 0; round < 12; round++) await ask(getAndClose());
    const last = records.slice(-6).map(({ upstreamAddress }) => upstreamAddress);
    // Two of four are out; one that fails and the good one take turns.
    expect(new Set(last).size).toBe(2);
    expect(last.filter((address) => address.endsWith(`:${good.port}`))).toHaveLength(3);
  });

  test('lasts twice as long each time', async () => {
    const lost = await origin((_, peer) => void peer.socket.resetAndDestroy());
    const good = await named('good');
    const { ask } = await startWith(
      [lost.url, good.url],
      { retry: { minPerSecond: 1000 } },
      {
        group: { resilience: { outlier: { failures: 1, baseSeconds: 1, maxSeconds: 8 } } },
      },
    );
    const times: number[] = [];
    const startedAt = performance.now();
    while (times.length < 3 && performance.now() - startedAt < 6000) {
      const count = lost.peers.length;
      expect(bodyOf(await ask(getAndClose()))).toBe('good');
      if (lost.peers.length > count) times.push(performance.now());
      await sleep(20);
    }
    const [first, second, third] = times as [number, number, number];
    expect(second - first).toBeGreaterThan(900);
    expect((third - second) / (second - first)).toBeGreaterThan(1.5);
  });
});

describe('slow start', () => {
  const member = (name: string, weight: number): Member => ({
    target: new Target({ id: name, name, address: '127.0.0.1', port: 1, source: null }),
    weight,
    health: 'alive',
    current: 0,
    effective: weight,
    since: 0,
    isAwake: false,
    isEjected: false,
    isEjectedElsewhere: false,
  });
  const request = { clientAddress: '', clientPort: 0, listener: '', vip: '', vport: 0, tried: [] };

  test.concurrent.each(['wrr', 'least-connections', 'p2c'] as const)(
    'gives %s a returning target a share that grows',
    async (scheduler) => {
      const [a, b] = [member('a', 10), member('b', 10)];
      const group = new Group({ id: 'g', name: 'g', slots: 251, resilience: { slowStartSeconds: 1 } }, [a, b]);
      const share = (): number => {
        let count = 0;
        for (let round = 0; round < 400; round++) {
          const picked = group.pick({ ...request, scheduler })!;
          picked.target.active++;
          if (picked === b) count++;
        }
        for (const { target } of [a, b]) target.active = 0;
        return count / 400;
      };
      expect(share()).toBeGreaterThan(0.4);
      b.health = 'dead';
      group.refresh();
      expect(share()).toBe(0);
      b.health = 'alive';
      group.refresh();
      const early = share();
      expect(early).toBeGreaterThan(0);
      expect(early).toBeLessThan(0.25);
      await sleep(1100);
      expect(share()).toBeGreaterThan(0.4);
    },
  );

  test('does not slow down the first targets of a group', () => {
    const members = [member('a', 1), member('b', 1)];
    const group = new Group({ id: 'g', name: 'g', slots: 251, resilience: { slowStartSeconds: 60 } }, members);
    const picks = Array.from({ length: 10 }, () => group.pick({ ...request, scheduler: 'wrr' })!.target.identity.name);
    expect(picks.filter((name) => name === 'a')).toHaveLength(5);
  });

  test('bounded load sends what one target would have too much of to others, and little else moves', () => {
    const members = Array.from({ length: 5 }, (_, index) => member(`t${index}`, 10));
    const group = new Group({ id: 'g', name: 'g', slots: 2039 }, members);
    const one = { ...request, scheduler: 'maglev', hashKey: 'the same for all', loadMax: 1.25 } as const;
    for (let round = 0; round < 1000; round++) group.pick(one)!.target.active++;
    const loads = members.map(({ target }) => target.active);
    expect(Math.max(...loads)).toBeLessThanOrEqual(Math.ceil(1.25 * 200) + 1);
    for (const { target } of members) target.active = 0;
    const keys = Array.from({ length: 2000 }, (_, index) => `key ${index}`);
    const plain = keys.map((hashKey) => group.pick({ ...one, hashKey, loadMax: 0 })!);
    const bound = keys.map((hashKey) => {
      const picked = group.pick({ ...one, hashKey })!;
      picked.target.active++;
      return picked;
    });
    expect(bound.filter((picked, index) => picked !== plain[index]).length / keys.length).toBeLessThan(0.1);
  });
});

describe('with all targets dead', () => {
  test('the policy of the group decides: all are used, or 503', async () => {
    const dead = [`http://127.0.0.1:${await freePort()}`];
    const health = (proxy: { health(): { health: string }[] }) => () => proxy.health()[0]!.health === 'dead';
    const refusing = await startWith(dead, {}, { check: CHECK, group: { resilience: { allDead: 'refuse' } } });
    await until(health(refusing.proxy));
    await refusing.ask(getAndClose());
    const using = await startWith(dead, {}, { check: CHECK });
    await until(health(using.proxy));
    await using.ask(getAndClose());
    expect([refusing.records[0]!.failure, using.records[0]!.failure]).toEqual(['no-target', 'connect-refused']);
  });
});

describe('the circuit breaker', () => {
  test('answers 503 beyond its requests in flight and says so in the log, and closes again', async () => {
    const held: Peer[] = [];
    const target = await origin((_, peer) => void held.push(peer));
    const { ask, records } = await startWith(
      [target.url],
      {},
      {
        group: { resilience: { circuit: { requestsMax: 2 } } },
      },
    );
    const two = [ask(getAndClose()), ask(getAndClose())];
    await until(() => held.length === 2);
    expect(await ask(getAndClose())).toMatch(/^HTTP\/1\.1 503 .*circuit-requests/s);
    for (const peer of held) peer.write(OK);
    for (const answer of await Promise.all(two)) expect(statusOf(answer)).toBe(200);
    const again = ask(getAndClose());
    await until(() => held.length === 3);
    held[2]!.write(OK);
    expect(statusOf(await again)).toBe(200);
    expect(records.filter(({ failure }) => failure === 'circuit-requests')).toHaveLength(1);
  });

  test('counts a client that leaves, and a retry, once', async () => {
    const lost = await origin((_, peer) => void peer.socket.resetAndDestroy());
    const { ask } = await startWith(
      [lost.url, lost.url.replace('127.0.0.1', '127.0.0.2')],
      { retry: {} },
      {
        group: { resilience: { circuit: { requestsMax: 1 } } },
        limits: { failuresMax: 0 },
      },
    );
    for (let round = 0; round < 5; round++) expect(await ask(getAndClose())).not.toContain('circuit');
    const slow = await origin(() => {});
    const other = await startWith([slow.url], {}, { group: { resilience: { circuit: { requestsMax: 1 } } } });
    for (let round = 0; round < 3; round++) {
      const peer = await other.client();
      peer.write(get());
      await slow.connection(round);
      peer.socket.resetAndDestroy();
      await (await slow.connection(round)).ended();
    }
    const late = other.ask(getAndClose());
    (await slow.connection(3)).write(OK);
    expect(statusOf(await late)).toBe(200);
  });

  test('limits connections, and what waits for one', async () => {
    const held: Peer[] = [];
    const target = await origin((_, peer) => void held.push(peer));
    const { ask } = await startWith(
      [target.url],
      {},
      {
        group: { resilience: { circuit: { connectionsMax: 1 } } },
      },
    );
    const first = ask(getAndClose());
    await until(() => held.length === 1);
    expect(await ask(getAndClose())).toContain('circuit-connections');
    held[0]!.write(OK);
    expect(statusOf(await first)).toBe(200);
    // The kept connection is free for the next one.
    const next = ask(getAndClose());
    await until(() => held.length === 2);
    held[1]!.write(OK);
    expect(statusOf(await next)).toBe(200);
    // A target that takes a connection and never says a word of TLS.
    const mute = await origin(() => {});
    const silent = await startWith(
      [mute.url],
      { forward: { type: 'https' }, timeouts: { connectMs: 300 } },
      { group: { resilience: { circuit: { pendingMax: 1 } } }, limits: { connectTimeoutMs: 300 } },
    );
    const waiting = silent.ask(getAndClose());
    await sleep(50);
    expect(await silent.ask(getAndClose())).toContain('circuit-pending');
    expect(await waiting).toContain('connect-timeout');
  });

  test('goes on counting when an image is swapped', async () => {
    const held: Peer[] = [];
    const target = await origin((_, peer) => void held.push(peer));
    const { ask, proxy } = await startWith(
      [target.url],
      {},
      {
        group: { resilience: { circuit: { requestsMax: 1 } } },
      },
    );
    const first = ask(getAndClose());
    await until(() => held.length === 1);
    const image = await imageOf({ listen: { host: '127.0.0.1', port: 0 }, routes: [{ targets: [target.url] }] });
    image.groups[0]!.resilience = { circuit: { requestsMax: 1 } };
    await proxy.apply(image);
    expect(await ask(getAndClose())).toContain('circuit-requests');
    held[0]!.write(OK);
    expect(statusOf(await first)).toBe(200);
  });
});

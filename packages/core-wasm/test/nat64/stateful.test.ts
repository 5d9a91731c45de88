// Stateful NAT64 (RFC 6146): bindings, sessions, filtering, TCP states, hairpinning, limits; rows named by their section.
import { describe, expect, test } from 'vitest';
import { type TcpOptions, ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { type IpLayer, parseIp } from '../../../../tools/testkit/parse.ts';
import type { Nat64, PoolOptions } from '../../src/nat64.ts';
import { embedded, icmp, ipv4, only, translator } from './translator.ts';

const POOL = '198.51.100.64';
const CLIENT = '2001:db8:1::10';
const OTHER = '2001:db8:2::20';
const SERVER = '203.0.113.10';
const PEER = '203.0.113.99';
const SECOND = 1000;
const HOUR = 3600 * SECOND;
const PAYLOAD = Buffer.from('payload');

const make = (options: Partial<PoolOptions> = {}): Promise<Nat64> =>
  translator({ allowNonGlobal: true, stateful: { pool: [POOL], bindings: 64, ...options } });
const text = (packet: Buffer): IpLayer => parseIp(packet, packet.readUInt8(0) >> 4 === 6 ? 0x86dd : 0x0800) as IpLayer;

const udp6 = (from: number, to = SERVER, port = 53, client = CLIENT) =>
  ipPacket(client, embedded(to), udp(from, port, PAYLOAD));
const udp4 = (to: number, from = SERVER, port = 53) => ipPacket(from, POOL, udp(port, to, PAYLOAD));
const tcp6 = (flags: string, options: TcpOptions = {}) =>
  ipPacket(CLIENT, embedded(SERVER), tcp({ sourcePort: 5000, destinationPort: 80, flags, ...options }));
const tcp4 = (to: number, flags: string, from = SERVER, port = 80) =>
  ipPacket(from, POOL, tcp({ sourcePort: port, destinationPort: to, flags }));
const portOf = (packet: Buffer): number => text(packet).udp?.sourcePort ?? text(packet).tcp?.sourcePort ?? -1;

describe('RFC 6146, 3.5.1: UDP', () => {
  test('a binding is made, the reply comes back to the client with true checksums', async () => {
    const nat64 = await make();
    const out = only(nat64.translate(udp6(4001)));
    expect(text(out)).toMatchObject({
      source: POOL,
      destination: SERVER,
      isChecksumValid: true,
      udp: { sourcePort: 4001, destinationPort: 53, isChecksumValid: true },
    });
    const back = only(nat64.translate(udp4(4001)));
    expect(text(back)).toMatchObject({
      source: embedded(SERVER),
      destination: CLIENT,
      udp: { sourcePort: 53, destinationPort: 4001, isChecksumValid: true },
    });
    expect(nat64.counters()).toMatchObject({ bindings: 1, sessions: 1, translated: 2 });
  });

  test('3.5.1.1: a taken port gives another of the same parity and range', async () => {
    const nat64 = await make({ bindings: 512 });
    for (const port of [4001, 4002, 1001, 65_535]) {
      const seen = new Set<number>();
      for (let client = 0; client < 20; client++) {
        const mapped = portOf(only(nat64.translate(udp6(port, SERVER, 53, `2001:db8::${client + 1}`))));
        expect(mapped & 1).toBe(port & 1);
        expect(mapped).toBeGreaterThanOrEqual(1024);
        seen.add(mapped);
      }
      expect(seen.size).toBe(20);
    }
  });

  test('a port below 1024 stays there when the pool has such ports', async () => {
    const nat64 = await make({ ports: [1, 65_535] });
    const ports = [1, 2, 3, 4].map((client) =>
      portOf(only(nat64.translate(udp6(123, SERVER, 123, `2001:db8::${client}`)))),
    );
    expect(ports[0]).toBe(123);
    expect(ports.every((port) => port < 1024 && (port & 1) === 1)).toBe(true);
    expect(new Set(ports).size).toBe(4);
  });

  test('mapping is endpoint-independent: one port towards every peer', async () => {
    const nat64 = await make();
    const ports = [SERVER, PEER, '192.0.2.77'].map((peer) => portOf(only(nat64.translate(udp6(4001, peer)))));
    expect(new Set(ports).size).toBe(1);
    expect(nat64.counters()).toMatchObject({ bindings: 1, sessions: 3 });
  });

  test('3.5.1: filtering is endpoint-independent, or address-dependent when asked', async () => {
    const open = await make();
    open.translate(udp6(4001));
    expect(open.translate(udp4(4001, PEER)).verdict).toBe('translated');
    const strict = await make({ filtering: 'address-dependent' });
    strict.translate(udp6(4001));
    expect(strict.translate(udp4(4001, SERVER, 999)).verdict).toBe('translated');
    const refused = strict.translate(udp4(4001, PEER));
    expect(refused).toMatchObject({ verdict: 'answered', reason: 'Filtered' });
    expect(text(only(refused))).toMatchObject({
      destination: PEER,
      icmp: { type: 3, code: 13, isChecksumValid: true },
    });
    expect(strict.counters().reasons).toEqual({ Filtered: 1 });
  });

  test('a packet to no binding is answered with host unreachable', async () => {
    const nat64 = await make();
    const result = nat64.translate(udp4(4001));
    expect(result).toMatchObject({ verdict: 'answered', reason: 'NoBinding' });
    expect(text(only(result)).icmp).toMatchObject({ type: 3, code: 1 });
    // What is for another host is none of ours to answer.
    const stray = nat64.translate(ipPacket(SERVER, '198.51.100.65', udp(53, 4001, PAYLOAD)));
    expect(stray).toMatchObject({ verdict: 'dropped', reason: 'NotTranslatable' });
  });

  test('section 4: a session lives five minutes after its last packet, either way, and takes its binding with it', async () => {
    const nat64 = await make();
    nat64.translate(udp6(4001), 0);
    nat64.translate(udp4(4001), 200 * SECOND);
    expect(nat64.expire(499 * SECOND)).toBe(0);
    expect(nat64.expire(500 * SECOND)).toBe(1);
    expect(nat64.counters()).toMatchObject({ bindings: 0, sessions: 0 });
    await expect(make({ lifetimes: { udp: 119_999 } })).rejects.toThrow(/120000/);
  });
});

describe('RFC 6146, 3.5.2: TCP', () => {
  const opened = async (): Promise<Nat64> => {
    const nat64 = await make();
    expect(nat64.translate(tcp6('S')).verdict).toBe('translated');
    expect(nat64.translate(tcp4(5000, 'SA')).verdict).toBe('translated');
    expect(nat64.translate(tcp6('A')).verdict).toBe('translated');
    return nat64;
  };
  /** Milliseconds until the only session has gone, to the second. */
  const life = (nat64: Nat64, from = 0): number => {
    let low = 0;
    for (let at = from; at < from + 5 * HOUR; at += SECOND) {
      nat64.expire(at);
      if (nat64.counters().sessions === 0) return at - from;
      low = at;
    }
    return low;
  };

  test('both ways with true checksums', async () => {
    const nat64 = await opened();
    const out = only(nat64.translate(tcp6('PA', { payload: PAYLOAD })));
    expect(text(out)).toMatchObject({
      source: POOL,
      isChecksumValid: true,
      tcp: { isChecksumValid: true, payload: PAYLOAD },
    });
    const back = only(nat64.translate(tcp4(5000, 'PA')));
    expect(text(back)).toMatchObject({ destination: CLIENT, tcp: { isChecksumValid: true, destinationPort: 5000 } });
  });

  test('CLOSED: without a SYN there is no binding, from either side, and no answer', async () => {
    const nat64 = await make();
    expect(nat64.translate(tcp6('A'))).toMatchObject({ verdict: 'dropped', reason: 'NoBinding' });
    expect(nat64.translate(tcp6('R'))).toMatchObject({ verdict: 'dropped' });
    expect(nat64.translate(tcp4(5000, 'A'))).toMatchObject({ verdict: 'dropped', reason: 'NoBinding' });
    expect(nat64.counters()).toMatchObject({ bindings: 0 });
  });

  test('V6 INIT lives four minutes', async () => {
    const nat64 = await make();
    nat64.translate(tcp6('S'));
    expect(life(nat64)).toBe(240 * SECOND);
  });

  test('ESTABLISHED lives two hours and four minutes, then four more minutes in TRANS', async () => {
    expect(life(await opened())).toBe(2 * HOUR + 8 * 60 * SECOND);
  });

  test('one FIN keeps the long time, both FINs the short one', async () => {
    const half = await opened();
    half.translate(tcp6('FA'));
    half.translate(tcp4(5000, 'A'));
    expect(life(half)).toBe(2 * HOUR + 4 * 60 * SECOND);
    const both = await opened();
    both.translate(tcp6('FA'));
    both.translate(tcp4(5000, 'FA'));
    both.translate(tcp6('A'), 100 * SECOND);
    expect(life(both)).toBe(240 * SECOND);
  });

  test('RST takes it to TRANS; another packet takes it back', async () => {
    const reset = await opened();
    reset.translate(tcp4(5000, 'R'));
    expect(life(reset)).toBe(240 * SECOND);
    const revived = await opened();
    revived.translate(tcp4(5000, 'R'));
    revived.translate(tcp6('A'), 10 * SECOND);
    expect(life(revived, 10 * SECOND)).toBe(2 * HOUR + 8 * 60 * SECOND);
  });

  test('V4 INIT: a SYN of the IPv4 side to a binding passes, and the SYN of the IPv6 side establishes it', async () => {
    const nat64 = await make();
    nat64.translate(tcp6('S'));
    expect(nat64.translate(tcp4(5000, 'S', PEER, 7000)).verdict).toBe('translated');
    const answer = ipPacket(CLIENT, embedded(PEER), tcp({ sourcePort: 5000, destinationPort: 7000, flags: 'SA' }));
    expect(nat64.translate(answer).verdict).toBe('translated');
    expect(nat64.counters()).toMatchObject({ sessions: 2, bindings: 1 });
  });

  test('simultaneous open: the SYN waits, the one of the IPv6 side establishes at once', async () => {
    const nat64 = await make({ filtering: 'address-dependent' });
    expect(nat64.translate(tcp4(5000, 'S'))).toMatchObject({ verdict: 'held', reason: 'SynHeld' });
    expect(nat64.translate(tcp6('S'), 5 * SECOND).verdict).toBe('translated');
    expect(nat64.due(10 * SECOND)).toEqual([]);
    expect(life(nat64, 5 * SECOND)).toBe(2 * HOUR + 8 * 60 * SECOND);
  });

  test('a SYN that waited six seconds in vain is answered with port unreachable', async () => {
    const nat64 = await make();
    const syn = tcp4(6000, 'S');
    expect(nat64.translate(syn).verdict).toBe('held');
    expect(nat64.translate(syn).verdict).toBe('held');
    expect(nat64.due(5999)).toEqual([]);
    const [answer] = nat64.due(6000);
    expect(text(Buffer.from(answer as Uint8Array))).toMatchObject({
      destination: SERVER,
      icmp: { type: 3, code: 3, isChecksumValid: true },
    });
    expect(
      Buffer.from(answer as Uint8Array)
        .subarray(28)
        .equals(syn),
    ).toBe(true);
    expect(nat64.due(6000)).toEqual([]);
  });

  test('connections from the IPv4 side can be refused; SYNs that wait have a limit', async () => {
    const closed = await make({ refuseInbound: true });
    expect(closed.translate(tcp4(6000, 'S'))).toMatchObject({ verdict: 'dropped', reason: 'NoBinding' });
    const nat64 = await make();
    const verdicts = Array.from({ length: 70 }, (_, index) => nat64.translate(tcp4(6000 + index, 'S')).verdict);
    expect(verdicts.filter((verdict) => verdict === 'held').length).toBe(64);
    expect(verdicts.slice(64)).toEqual(Array.from({ length: 6 }, () => 'answered'));
  });
});

describe('RFC 6146, 3.5.3 and 3.6: ICMP', () => {
  const ping6 = (id: number) => ipPacket(CLIENT, embedded(SERVER), icmp(6, 128, 0, (id << 16) | 1, PAYLOAD));
  test('a query is bound by its identifier for one minute', async () => {
    const nat64 = await make();
    const out = only(nat64.translate(ping6(77)));
    expect(text(out)).toMatchObject({ source: POOL, destination: SERVER, icmp: { type: 8, isChecksumValid: true } });
    const back = only(nat64.translate(ipv4(SERVER, POOL, icmp(4, 0, 0, (out.readUInt16BE(24) << 16) | 1, PAYLOAD))));
    expect(text(back)).toMatchObject({
      source: embedded(SERVER),
      destination: CLIENT,
      icmp: { type: 129, isChecksumValid: true },
    });
    expect(back.readUInt16BE(44)).toBe(77);
    expect(nat64.expire(59_999)).toBe(0);
    expect(nat64.expire(60_000)).toBe(1);
  });

  test('two clients with one identifier get two', async () => {
    const nat64 = await make();
    const ids = [CLIENT, OTHER].map((client) =>
      only(nat64.translate(ipPacket(client, embedded(SERVER), icmp(6, 128, 0, 77 << 16, PAYLOAD)))).readUInt16BE(24),
    );
    expect(new Set(ids).size).toBe(2);
  });

  test('an ICMPv4 error finds the client by its quote and quotes what the client had sent', async () => {
    const nat64 = await make();
    only(nat64.translate(udp6(4001, SERVER, 53, OTHER)));
    const sent = udp6(4001);
    const out = only(nat64.translate(sent));
    const back = only(nat64.translate(ipv4('192.0.2.1', POOL, icmp(4, 3, 4, 1400, out))));
    expect(text(back)).toMatchObject({
      source: embedded('192.0.2.1'),
      destination: CLIENT,
      icmp: { type: 2, isChecksumValid: true },
    });
    expect(back.readUInt32BE(44)).toBe(1420);
    const quote = back.subarray(48);
    expect(quote.subarray(8).equals(sent.subarray(8))).toBe(true);
  });

  test('an ICMPv6 error of a router comes from the pool and quotes what the server had sent', async () => {
    const nat64 = await make();
    const mapped = portOf(only(nat64.translate(udp6(4001))));
    const reply = ipv4(SERVER, POOL, udp(53, mapped, PAYLOAD), { ttl: 60 });
    const inside = only(nat64.translate(reply));
    const out = only(nat64.translate(ipPacket('2001:db8:ffff::1', embedded(SERVER), icmp(6, 1, 4, 0, inside))));
    expect(text(out)).toMatchObject({
      source: POOL,
      destination: SERVER,
      icmp: { type: 3, code: 3, isChecksumValid: true },
    });
    expect(text(out.subarray(28))).toMatchObject({
      source: SERVER,
      destination: POOL,
      udp: { sourcePort: 53, destinationPort: mapped, isChecksumValid: true },
    });
  });

  test('an error about no session is dropped and makes none', async () => {
    const nat64 = await make();
    const stray = ipv4('192.0.2.1', POOL, icmp(4, 3, 1, 0, ipv4(POOL, SERVER, udp(4001, 53, PAYLOAD))));
    expect(nat64.translate(stray)).toMatchObject({ verdict: 'dropped', reason: 'NoSession' });
    expect(nat64.counters()).toMatchObject({ sessions: 0 });
  });
});

describe('RFC 6146, 3.8: hairpinning', () => {
  test('two hosts behind one translator talk over their IPv4 addresses', async () => {
    const nat64 = await make();
    const mapped = portOf(only(nat64.translate(udp6(4001, SERVER, 53, OTHER))));
    const out = only(nat64.translate(ipPacket(CLIENT, embedded(POOL), udp(9000, mapped, PAYLOAD))));
    expect(text(out)).toMatchObject({
      source: embedded(POOL),
      destination: OTHER,
      udp: { sourcePort: 9000, destinationPort: 4001, isChecksumValid: true },
    });
    const back = only(nat64.translate(ipPacket(OTHER, embedded(POOL), udp(4001, 9000, PAYLOAD))));
    expect(text(back)).toMatchObject({
      destination: CLIENT,
      udp: { sourcePort: mapped, destinationPort: 9000, isChecksumValid: true },
    });
    expect(nat64.counters()).toMatchObject({ hairpins: 2 });
  });

  test('3.5: a source inside the prefix is a packet of our own: dropped', async () => {
    const nat64 = await make();
    expect(nat64.translate(ipPacket(embedded(PEER), embedded(SERVER), udp(1, 2, PAYLOAD)))).toMatchObject({
      reason: 'HairpinLoop',
    });
  });
});

describe('limits', () => {
  test('full tables and ports refuse new clients with address unreachable, keep the old ones, and count', async () => {
    const nat64 = await make({ bindings: 4, sessions: 6 });
    const results = Array.from({ length: 6 }, (_, index) => nat64.translate(udp6(4001 + index)));
    expect(results.slice(0, 4).every(({ verdict }) => verdict === 'translated')).toBe(true);
    expect(text(only(results[5] as (typeof results)[0]))).toMatchObject({
      destination: CLIENT,
      icmp: { type: 1, code: 3, isChecksumValid: true },
    });
    expect(nat64.translate(udp6(4001, PEER)).verdict).toBe('translated');
    expect(nat64.translate(udp6(4002, PEER)).verdict).toBe('translated');
    expect(nat64.translate(udp6(4003, PEER))).toMatchObject({ verdict: 'answered', reason: 'SessionsFull' });
    expect(nat64.translate(udp6(4001)).verdict).toBe('translated');
    expect(nat64.counters()).toMatchObject({ bindings: 4, sessions: 6, reasons: { BindingsFull: 2, SessionsFull: 1 } });
    const narrow = await make({ ports: [2000, 2003] });
    const ports = Array.from({ length: 3 }, (_, index) =>
      narrow.translate(udp6(4001, SERVER, 53, `2001:db8::${index + 1}`)),
    );
    expect(ports.map(({ verdict, reason }) => reason ?? verdict)).toEqual(['translated', 'translated', 'PortsFull']);
  });

  test('one peer cannot fill the table through one binding', async () => {
    const nat64 = await make({ bindings: 10, sessions: 1000 });
    nat64.translate(udp6(4001));
    const verdicts = Array.from({ length: 80 }, (_, index) => nat64.translate(udp4(4001, PEER, 1000 + index)).verdict);
    expect(verdicts.filter((verdict) => verdict === 'translated').length).toBe(64);
  });

  test('ten thousand clients come and go and every row comes back', async () => {
    const nat64 = await make({ bindings: 12_000, pool: [POOL, '198.51.100.65'] });
    for (let round = 0; round < 3; round++) {
      const now = round * 1000 * SECOND;
      for (let index = 0; index < 10_000; index++) {
        const client = `2001:db8::${(index >> 8).toString(16)}:${(index & 255).toString(16)}`;
        expect(nat64.translate(udp6(4000 + (index % 8), SERVER, 53, client), now).verdict).toBe('translated');
      }
      expect(nat64.counters()).toMatchObject({ bindings: 10_000, sessions: 10_000 });
      let ended = 0;
      for (let step = 0; step < 40; step++) ended += nat64.expire(now + 301 * SECOND);
      expect(ended).toBe(10_000);
    }
    expect(nat64.counters()).toMatchObject({ bindings: 0, sessions: 0, bindingsMade: 30_000 });
  });

  test('a binding of the operator stays, and lets the IPv4 side begin', async () => {
    const nat64 = await make();
    const binding = { protocol: 'udp', address6: CLIENT, port6: 53, address4: POOL, port4: 5353 } as const;
    expect(nat64.bind(binding)).toBe(true);
    expect(nat64.bind(binding)).toBe(false);
    expect(text(only(nat64.translate(udp4(5353, PEER, 999)))).udp).toMatchObject({
      destinationPort: 53,
      isChecksumValid: true,
    });
    expect(nat64.expire(HOUR)).toBe(1);
    expect(nat64.counters()).toMatchObject({ bindings: 1, sessions: 0 });
  });
});

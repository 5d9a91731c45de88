// The rest of RFC 6146: probes, the port that a SYN waits for, other protocols, errors between two clients; limits of subscribers (RFC 6888);
// and hairpins of mapped hosts, which are stateless (RFC 7757, section 4).
import { describe, expect, test } from 'vitest';
import { type TcpOptions, ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { type IpLayer, parseIp } from '../../../../tools/testkit/parse.ts';
import type { Nat64, PoolOptions } from '../../src/nat64.ts';
import { embedded, icmp, ipv4, only, translator } from './translator.ts';

const POOL = '198.51.100.64';
const CLIENT = '2001:db8:1::10';
const OTHER = '2001:db8:2::20';
const SERVER = '203.0.113.10';
const PAYLOAD = Buffer.from('payload');
const IDLE = 7_440_000;

const make = (options: Partial<PoolOptions> = {}): Promise<Nat64> =>
  translator({ allowNonGlobal: true, stateful: { pool: [POOL], bindings: 64, ...options } });
const text = (packet: Uint8Array): IpLayer =>
  parseIp(Buffer.from(packet), (packet[0] ?? 0) >> 4 === 6 ? 0x86dd : 0x0800) as IpLayer;
const tcp6 = (flags: string, options: TcpOptions = {}): Buffer =>
  ipPacket(CLIENT, embedded(SERVER), tcp({ sourcePort: 5000, destinationPort: 80, flags, ...options }));
const tcp4 = (to: number, flags: string): Buffer =>
  ipPacket(SERVER, POOL, tcp({ sourcePort: 80, destinationPort: to, flags }));

describe('RFC 6146, 3.5.2.2: a connection that was idle for two hours and four minutes', () => {
  const idle = async (): Promise<Nat64> => {
    const nat64 = await make();
    for (const packet of [tcp6('S'), tcp4(5000, 'SA'), tcp6('A')]) nat64.translate(packet, 0);
    nat64.expire(IDLE - 1);
    expect(nat64.due(IDLE - 1)).toEqual([]);
    nat64.expire(IDLE);
    return nat64;
  };

  test('is probed once, by a bare ACK from its server to its client', async () => {
    const nat64 = await idle();
    const [probe, ...more] = nat64.due(IDLE);
    expect(more).toEqual([]);
    expect(text(probe as Uint8Array)).toMatchObject({
      source: embedded(SERVER),
      destination: CLIENT,
      tcp: { sourcePort: 80, destinationPort: 5000, isChecksumValid: true },
    });
    expect(
      Buffer.from(probe as Uint8Array)
        .subarray(44, 54)
        .toString('hex'),
    ).toBe('00000000000000005010');
    expect(nat64.counters()).toMatchObject({ probed: 1, sessions: 1 });
  });

  test('goes on when the client answers, and ends in four minutes when it resets or says nothing', async () => {
    const alive = await idle();
    alive.due(IDLE);
    expect(alive.translate(tcp6('A'), IDLE + 10).verdict).toBe('translated');
    expect(alive.expire(IDLE + 240_010)).toBe(0);
    for (const said of [[], [tcp6('R')]]) {
      const dead = await idle();
      dead.due(IDLE);
      for (const packet of said) expect(dead.translate(packet, IDLE + 10).verdict).toBe('translated');
      expect(dead.expire(IDLE + 239_999)).toBe(0);
      expect(dead.expire(IDLE + 240_010)).toBe(1);
    }
  });

  test('is not probed when a packet came first, and 300 at once are probed as far as the ring goes', async () => {
    const late = await idle();
    late.translate(tcp6('A'), IDLE + 1);
    expect(late.due(IDLE + 1)).toEqual([]);
    const many = await make({ bindings: 400 });
    for (let port = 2000; port < 2300; port++) {
      many.translate(tcp6('S', { sourcePort: port }), 0);
      many.translate(tcp4(port, 'SA'), 0);
    }
    many.expire(IDLE);
    expect(many.due(IDLE).length).toBe(256);
    expect(many.counters()).toMatchObject({ sessions: 300, probed: 256 });
  });
});

describe('RFC 6146, 3.5.2: simultaneous open', () => {
  test('the client gets the port that the SYN from outside waits at, whatever port it sends from', async () => {
    const nat64 = await make({ filtering: 'address-dependent' });
    expect(nat64.translate(tcp4(6001, 'S')).verdict).toBe('held');
    const out = only(nat64.translate(tcp6('S'), 1000));
    expect(text(out).tcp).toMatchObject({ sourcePort: 6001, isChecksumValid: true });
    expect(nat64.translate(tcp4(6001, 'SA'), 1001).verdict).toBe('translated');
    // Another server's SYN steers nobody.
    expect(nat64.translate(tcp4(7001, 'S'), 1002).verdict).toBe('held');
    const elsewhere = ipPacket(OTHER, embedded('203.0.113.77'), tcp({ sourcePort: 5002, flags: 'S' }));
    expect(text(only(nat64.translate(elsewhere, 1003))).tcp?.sourcePort).toBe(5002);
  });

  test('a SYN of an address that was not spoken to is stored and answered (V4 INIT), one of another passes', async () => {
    const nat64 = await make({ filtering: 'address-dependent' });
    nat64.translate(tcp6('S'), 0);
    const stranger = ipPacket('203.0.113.99', POOL, tcp({ sourcePort: 80, destinationPort: 5000, flags: 'S' }));
    expect(nat64.translate(stranger, 0)).toMatchObject({ verdict: 'held', reason: 'SynHeld' });
    expect(nat64.due(5999)).toEqual([]);
    const [answer] = nat64.due(6000);
    expect(text(answer as Uint8Array)).toMatchObject({ destination: '203.0.113.99', icmp: { type: 3, code: 3 } });
    expect(nat64.counters().sessions).toBe(1);
  });
});

describe('RFC 6146, 3.4: protocols other than TCP, UDP and ICMP', () => {
  test('are refused with port unreachable in IPv6, protocol unreachable in IPv4', async () => {
    const nat64 = await make();
    const sctp = { protocol: 132, bytes: Buffer.alloc(40) };
    const six = nat64.translate(ipPacket(CLIENT, embedded(SERVER), sctp));
    expect(six).toMatchObject({ verdict: 'answered', reason: 'Protocol' });
    expect(text(only(six))).toMatchObject({ destination: CLIENT, icmp: { type: 1, code: 4, isChecksumValid: true } });
    const four = nat64.translate(ipPacket(SERVER, POOL, sctp));
    expect(text(only(four))).toMatchObject({ destination: SERVER, icmp: { type: 3, code: 2, isChecksumValid: true } });
  });
});

describe('RFC 6146, 3.8: errors between two clients', () => {
  test('an error about a packet that was turned round reaches its sender, who reads its own packet', async () => {
    const nat64 = await make();
    nat64.translate(ipPacket(OTHER, embedded(SERVER), udp(4001, 53, PAYLOAD)));
    const sent = ipPacket(CLIENT, embedded(POOL), udp(9000, 4001, PAYLOAD));
    const got = only(nat64.translate(sent));
    expect(text(got)).toMatchObject({ source: embedded(POOL), destination: OTHER });
    const back = only(nat64.translate(ipPacket(OTHER, embedded(POOL), icmp(6, 1, 4, 0, got))));
    expect(text(back)).toMatchObject({
      source: embedded(POOL),
      destination: CLIENT,
      icmp: { type: 1, code: 4, isChecksumValid: true },
    });
    expect(back.subarray(56).equals(sent.subarray(8))).toBe(true);
  });
});

describe('RFC 6888, REQ-4: limits of a subscriber', () => {
  const from = (nat64: Nat64, client: string, port: number, to = SERVER) =>
    nat64.translate(ipPacket(client, embedded(to), udp(port, 53, PAYLOAD)), 0);

  test('one /64 has its bindings, whatever addresses it takes; others are not touched, and they come back', async () => {
    const nat64 = await make({ perSubscriber: { bindings: 3 } });
    const clients = ['2001:db8:7::1', '2001:db8:7::2', '2001:db8:7:0:ffff::3'];
    expect(clients.map((client) => from(nat64, client, 4000).verdict)).toEqual([
      'translated',
      'translated',
      'translated',
    ]);
    const refused = from(nat64, '2001:db8:7::4', 4000);
    expect(refused).toMatchObject({ verdict: 'answered', reason: 'SubscriberLimit' });
    expect(text(only(refused))).toMatchObject({ icmp: { type: 1, code: 3, isChecksumValid: true } });
    expect(from(nat64, '2001:db8:7:1::1', 4000).verdict).toBe('translated');
    expect(from(nat64, '2001:db8:7::1', 4000, '203.0.113.11').verdict).toBe('translated');
    nat64.expire(300_000);
    expect(nat64.counters()).toMatchObject({ bindings: 0, sessions: 0 });
    expect(from(nat64, '2001:db8:7::9', 4000).verdict).toBe('translated');
  });

  test('sessions are counted too, those that the IPv4 side makes as well', async () => {
    const nat64 = await make({ perSubscriber: { prefixBits: 128, sessions: 2 } });
    from(nat64, CLIENT, 4000);
    expect(nat64.translate(ipPacket('203.0.113.50', POOL, udp(53, 4000, PAYLOAD)), 0).verdict).toBe('translated');
    const third = nat64.translate(ipPacket('203.0.113.51', POOL, udp(53, 4000, PAYLOAD)), 0);
    expect(third).toMatchObject({ verdict: 'answered', reason: 'SubscriberLimit' });
    expect(text(only(third)).icmp).toMatchObject({ type: 3, code: 1 });
    expect(from(nat64, CLIENT, 4000, '203.0.113.52')).toMatchObject({ reason: 'SubscriberLimit' });
    await expect(make({ perSubscriber: { prefixBits: 129 } })).rejects.toThrow(/prefixBits/);
  });
});

describe('RFC 6146, section 4: minima of the timers', () => {
  test('each refuses a shorter one and names it, and takes a longer one', async () => {
    const minima = {
      udp: 120_000,
      tcpTransitory: 240_000,
      tcpEstablished: IDLE,
      icmp: 60_000,
      fragment: 2000,
    } as const;
    for (const [name, least] of Object.entries(minima)) {
      await expect(make({ lifetimes: { [name]: least - 1 } })).rejects.toThrow(new RegExp(`${name}.*${least}`));
      await make({ lifetimes: { [name]: least * 2 } });
    }
  });
});

describe('RFC 7757, section 4: two mapped hosts behind one translator', () => {
  const mappings = [
    { prefix4: '192.0.2.1/32', prefix6: '2001:db8:aaaa::/128' },
    { prefix4: '192.0.2.2/32', prefix6: '2001:db8:bbbb::b/128' },
  ];
  const [A, B] = ['2001:db8:aaaa::', '2001:db8:bbbb::b'];
  const sent = ipPacket(A, embedded('192.0.2.2'), udp(7, 9, PAYLOAD));
  const modes = (hairpinning?: 'simple' | 'off') => translator({ allowNonGlobal: true, mappings, hairpinning });

  test('4.2.2, intrinsic: the packet is turned round, and the answer comes from where it was sent to', async () => {
    const nat64 = await modes();
    const there = only(nat64.translate(sent));
    expect(text(there)).toMatchObject({
      source: embedded('192.0.2.1'),
      destination: B,
      udp: { isChecksumValid: true },
    });
    const back = only(nat64.translate(ipPacket(B, text(there).source, udp(9, 7, PAYLOAD))));
    expect(text(back)).toMatchObject({ source: embedded('192.0.2.2'), destination: A, udp: { isChecksumValid: true } });
    const error = only(nat64.translate(ipPacket(B, embedded('192.0.2.1'), icmp(6, 1, 4, 0, there))));
    expect(text(error)).toMatchObject({
      source: embedded('192.0.2.2'),
      destination: A,
      icmp: { type: 1, code: 4, isChecksumValid: true },
    });
    expect(error.subarray(56).equals(sent.subarray(8))).toBe(true);
  });

  test('4.2.1, simple: it goes out as IPv4 and comes back with the prefix for its source', async () => {
    const nat64 = await modes('simple');
    const out = only(nat64.translate(sent));
    expect(text(out)).toMatchObject({ version: 4, source: '192.0.2.1', destination: '192.0.2.2' });
    const there = only(nat64.translate(out));
    expect(text(there)).toMatchObject({
      source: embedded('192.0.2.1'),
      destination: B,
      udp: { isChecksumValid: true },
    });
    const error = only(nat64.translate(ipPacket(B, embedded('192.0.2.1'), icmp(6, 1, 4, 0, there))));
    const home = only(nat64.translate(error));
    expect(text(home)).toMatchObject({
      source: embedded('192.0.2.2'),
      destination: A,
      icmp: { isChecksumValid: true },
    });
    expect(home.subarray(56).equals(sent.subarray(8))).toBe(true);
  });

  test('off: the mapping goes before the prefix on both ends; other peers are treated alike in every mode', async () => {
    const nat64 = await modes('off');
    const there = only(nat64.translate(only(nat64.translate(sent))));
    expect(text(there)).toMatchObject({ source: A, destination: B });
    for (const mode of [nat64, await modes('simple'), await modes()]) {
      const outside = only(mode.translate(ipPacket(A, embedded('8.8.8.8'), udp(7, 9, PAYLOAD))));
      expect(text(outside)).toMatchObject({ source: '192.0.2.1', destination: '8.8.8.8' });
      const inside = only(mode.translate(ipv4('8.8.8.8', '192.0.2.1', udp(9, 7, PAYLOAD))));
      expect(text(inside)).toMatchObject({ source: embedded('8.8.8.8'), destination: A });
    }
  });
});

// Tunnels in and out (data-plane.md P14, P17, P31, P38): every flag combination of RFC 2784 and RFC 2890, IP in IP of both families in both
// (RFC 2003, 2473, 4213), the ECN table of RFC 6040, loops and nesting.
import { describe, expect, test } from 'vitest';
import { gre, ipPacket, tcp } from '../../../tools/testkit/build.ts';
import {
  destinationIs,
  expectIpv4,
  expectIpv6,
  innerIs,
  keyIs,
  portsAre,
  sourceIs,
} from '../../../tools/testkit/expect.ts';
import { sum } from '../../../tools/testkit/parse.ts';
import {
  CLIENT,
  CLIENT6,
  HOST1,
  HOST6,
  SERVER,
  T1,
  T1V6,
  TABLES,
  VIP,
  VIP6,
  VM_A1,
  director,
  id,
} from './director-fixture.ts';
import { refreshIpv4 } from './fragments.ts';

const syn = (port: number): Buffer => ipPacket(CLIENT, VIP, tcp({ destinationPort: port }));
const reply = ipPacket(VM_A1, CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' }));
const CHECKSUM = 0x8000;
const KEY = 0x2000;
const SEQUENCE = 0x1000;

/** GRE with any of checksum, key 100 and sequence number around the reply of VM a1. */
function greWith(flags: number, inner = reply): { protocol: number; bytes: Buffer } {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(flags, 0);
  head.writeUInt16BE(0x0800, 2);
  const words = [
    ...((flags & CHECKSUM) === 0 ? [] : [0]),
    ...((flags & KEY) === 0 ? [] : [100]),
    ...((flags & SEQUENCE) === 0 ? [] : [7]),
  ].map((word) => Buffer.from([0, 0, 0, word]));
  const bytes = Buffer.concat([head, ...words, inner]);
  if ((flags & CHECKSUM) !== 0) bytes.writeUInt16BE(~sum(bytes) & 0xffff, 4);
  return { protocol: 47, bytes };
}

describe('RFC 2784 and RFC 2890: what a GRE header may carry', () => {
  test.each([
    ['key', KEY, 'None'],
    ['key and sequence number', KEY | SEQUENCE, 'None'],
    ['checksum and key', CHECKSUM | KEY, 'None'],
    ['checksum, key and sequence number', CHECKSUM | KEY | SEQUENCE, 'None'],
    ['reserved bits, which are ignored', KEY | 0x03f8, 'None'],
    ['nothing', 0, 'TunnelKey'],
    ['checksum', CHECKSUM, 'TunnelKey'],
    ['sequence number', SEQUENCE, 'TunnelKey'],
    ['checksum and sequence number', CHECKSUM | SEQUENCE, 'TunnelKey'],
    ['routing of RFC 1701', KEY | 0x4000, 'BadTunnel'],
    ['a strict source route of RFC 1701', KEY | 0x0800, 'BadTunnel'],
    ['bit 5', KEY | 0x0400, 'BadTunnel'],
    ['version 1 (RFC 2637)', KEY | 1, 'BadTunnel'],
  ])('%s', async (_name, flags, reason) => {
    const { receive } = await director();
    receive(syn(80));
    const out = receive(ipPacket(HOST1, T1, greWith(flags)));
    expect(out.reason).toBe(reason);
    if (reason === 'None') expectIpv4(out.frame, sourceIs(VIP), destinationIs(CLIENT), portsAre(80, 40000));
  });

  test('a wrong checksum', async () => {
    const { receive } = await director();
    receive(syn(80));
    const wrapped = greWith(CHECKSUM | KEY);
    wrapped.bytes.writeUInt8(wrapped.bytes.readUInt8(40) ^ 1, 40);
    expect(receive(ipPacket(HOST1, T1, wrapped)).reason).toBe('TunnelChecksum');
  });

  test('every truncation of the longest header', async () => {
    const { receive } = await director();
    const whole = greWith(CHECKSUM | KEY | SEQUENCE, Buffer.alloc(0)).bytes;
    for (let length = 0; length < whole.length; length++) {
      const bytes = Buffer.from(whole.subarray(0, length));
      expect(receive(ipPacket(HOST1, T1, { protocol: 47, bytes })).verdict).toBe('Drop');
    }
  });
});

describe('RFC 2003, 2473, 4213: families in each other', () => {
  const V6_SERVER = 'fd00:255::31';
  const tables = {
    ...TABLES,
    listeners: [
      ...TABLES.listeners,
      { ...TABLES.listeners[0]!, id: id('p4over6'), vport: 1046, group: id('g46') },
      { ...TABLES.listeners[0]!, id: id('p6over4'), vip: VIP6, vport: 1064, group: id('g64') },
      { ...TABLES.listeners[0]!, id: id('p6over6'), vip: VIP6, vport: 1066, group: id('g66') },
    ],
    groups: [
      ...TABLES.groups,
      ...['46', '64', '66'].map((name) => ({
        ...TABLES.groups[0]!,
        id: id(`g${name}`),
        targets: [{ target: id(`t${name}`), weight: 1 }],
      })),
    ],
    targets: [
      ...TABLES.targets,
      { ...TABLES.targets[2]!, id: id('t46'), address: '10.255.0.61', host: id('only6') },
      { ...TABLES.targets[2]!, id: id('t64'), address: V6_SERVER, host: id('phys') },
      { ...TABLES.targets[2]!, id: id('t66'), address: V6_SERVER, host: id('only6') },
    ],
    hosts: [...TABLES.hosts, { id: id('only6'), v6: V6_SERVER }],
  };

  test.each([
    ['IPIP', 90, VIP, CLIENT, SERVER, SERVER, T1, 4],
    ['4in6', 1046, VIP, CLIENT, '10.255.0.61', V6_SERVER, T1V6, 4],
    ['6in4', 1064, VIP6, CLIENT6, V6_SERVER, SERVER, T1, 41],
    ['IP6IP6', 1066, VIP6, CLIENT6, V6_SERVER, V6_SERVER, T1V6, 41],
  ])('%s there and back', async (_name, port, vip, client, server, host, tunnel, protocol) => {
    const under = await director({ withoutImage: true });
    under.apply(tables);
    const judge = host.includes(':') ? expectIpv6 : expectIpv4;
    const { frame } = under.receive(ipPacket(client, vip, tcp({ destinationPort: port })));
    const outer = judge(
      frame,
      sourceIs(tunnel),
      destinationIs(host),
      innerIs(sourceIs(client), destinationIs(server), portsAre(40000, 8080)),
    );
    expect(outer.protocol).toBe(protocol);
    const back = ipPacket(server, client, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' }));
    const { frame: out } = under.receive(ipPacket(host, tunnel, { protocol, bytes: back }));
    (client.includes(':') ? expectIpv6 : expectIpv4)(out, sourceIs(vip), destinationIs(client), portsAre(port, 40000));
  });
});

/** Sets DSCP and ECN of a packet of either family. */
function marked(packet: Buffer, trafficClass: number): Buffer {
  const copy = Buffer.from(packet);
  if (copy.readUInt8(0) >> 4 === 4) {
    copy.writeUInt8(trafficClass, 1);
    return refreshIpv4(copy);
  }
  copy.writeUInt16BE(0x6000 | (trafficClass << 4), 0);
  return copy;
}
const markOf = (packet: Buffer): number =>
  packet.readUInt8(0) >> 4 === 4 ? packet.readUInt8(1) : (packet.readUInt16BE(0) >> 4) & 255;

describe('RFC 6040: congestion marks', () => {
  const ECN = { NotEct: 0, Ect1: 1, Ect0: 2, Ce: 3 } as const;
  // Figure 4: inner in rows, outer Not-ECT, ECT(0), ECT(1), CE in columns.
  const TABLE = [
    ['NotEct', ['NotEct', 'NotEct', 'NotEct', 'drop']],
    ['Ect0', ['Ect0', 'Ect0', 'Ect1', 'Ce']],
    ['Ect1', ['Ect1', 'Ect1', 'Ect1', 'Ce']],
    ['Ce', ['Ce', 'Ce', 'Ce', 'Ce']],
  ] as const;
  const rows = TABLE.flatMap(([inner, outcomes]) =>
    (['NotEct', 'Ect0', 'Ect1', 'Ce'] as const).map((outer, index) => [inner, outer, outcomes[index]!] as const),
  );

  test.each(rows)('decapsulation: inner %s, outer %s gives %s', async (inner, outer, expected) => {
    const { receive } = await director();
    receive(syn(80));
    receive(ipPacket(CLIENT6, VIP6, tcp({ destinationPort: 80 })));
    const reply6 = ipPacket('fd00:100::2', CLIENT6, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' }));
    for (const [packet, host, tunnel] of [
      [reply, HOST1, T1],
      [reply6, HOST6, T1V6],
    ] as const) {
      // A DSCP inside stays, one outside is forgotten (RFC 2983, uniform marks end here).
      const out = receive(
        marked(ipPacket(host, tunnel, gre(100, marked(packet, 0xb8 | ECN[inner]))), 0x20 | ECN[outer]),
      );
      const seen = out.verdict === 'Forward' ? markOf(out.frame.subarray(14)) : out.reason;
      expect(seen).toBe(expected === 'drop' ? 'Congestion' : 0xb8 | ECN[expected]);
    }
  });

  test.each(Object.entries(ECN))(
    'encapsulation in normal mode: inner %s is copied with the DSCP',
    async (_name, ecn) => {
      const { receive } = await director();
      for (let again = 0; again < 3; again++) {
        const out4 = receive(
          marked(ipPacket(CLIENT, VIP, tcp({ destinationPort: 80, flags: again === 0 ? 'S' : 'A' })), 0xb8 | ecn),
        ).frame;
        expectIpv4(out4, keyIs(100));
        expect([markOf(out4.subarray(14)), markOf(out4.subarray(14 + 28))]).toEqual([0xb8 | ecn, 0xb8 | ecn]);
        const out6 = receive(
          marked(ipPacket(CLIENT6, VIP6, tcp({ destinationPort: 80, flags: again === 0 ? 'S' : 'A' })), 0xb8 | ecn),
        ).frame;
        expect([markOf(out6.subarray(14)), markOf(out6.subarray(14 + 48))]).toEqual([0xb8 | ecn, 0xb8 | ecn]);
      }
    },
  );
});

describe('loops and nesting', () => {
  const inTunnel = (inner: Buffer): Buffer => ipPacket(HOST1, T1, gre(100, inner));

  test.each([
    ['GRE in GRE', inTunnel(inTunnel(reply))],
    ['IPIP in GRE', inTunnel(ipPacket(VM_A1, CLIENT, { protocol: 4, bytes: reply }))],
    ['6in4 in GRE', inTunnel(ipPacket(VM_A1, CLIENT, { protocol: 41, bytes: ipPacket(CLIENT6, VIP6, tcp()) }))],
    ['GRE in IPIP', ipPacket(SERVER, T1, { protocol: 4, bytes: inTunnel(reply) })],
  ])('one level is the limit: %s', async (_name, packet) => {
    const { receive } = await director();
    receive(syn(80));
    expect(receive(packet).reason).toBe('NestedTunnel');
  });

  test('a packet of our own that comes back', async () => {
    const { receive } = await director();
    expect(receive(receive(syn(80)).frame.subarray(14)).reason).not.toBe('None');
    expect(receive(ipPacket(T1, T1, gre(100, reply))).reason).toBe('TunnelLoop');
  });

  test('a host that has a tunnel address of ours is refused with the image', async () => {
    const { apply } = await director();
    const hosts = TABLES.hosts.map((host) => (host.id === id('host1') ? { ...host, v4: T1 } : host));
    expect(() => apply({ ...TABLES, hosts })).toThrow(
      /has the tunnel address 10\.254\.1\.1: a tunnel to it would never end/,
    );
  });

  test('outer TTL and hop limit are 64 whatever the packet has left', async () => {
    const { receive } = await director();
    expect(expectIpv4(receive(ipPacket(CLIENT, VIP, tcp({ destinationPort: 80 }), 3)).frame).ttl).toBe(64);
    expect(expectIpv6(receive(ipPacket(CLIENT6, VIP6, tcp({ destinationPort: 80 }), 3)).frame).ttl).toBe(64);
  });
});

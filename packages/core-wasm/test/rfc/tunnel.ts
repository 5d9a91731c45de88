// Rows of tunnels: RFC 2784 and 2890 (GRE), 2003, 2473, 4213 (IP in IP), 6040 and 2983 (marks), 2637 and 1701 (what GRE is not).
import { gre, ipPacket, tcp } from '../../../../tools/testkit/build.ts';
import { sum } from '../../../../tools/testkit/parse.ts';
import { CLIENT, CLIENT6, HOST1, SERVER, T1, T1V6, VIP, VIP6 } from '../director-fixture.ts';
import {
  SERVER6,
  SYN,
  SYN6,
  VM6,
  answer,
  answered,
  ask,
  asked,
  fromVm,
  fromVm6,
  replied,
  reply,
  segment,
  segmented,
  toVm,
  type Row,
} from './row.ts';

const CHECKSUM = 0x8000;
const KEY = 0x2000;
const SEQUENCE = 0x1000;
const SYN_ACK = reply(answer('SA'));
const AT_CLIENT = replied(answered('SA'));

/** GRE with any of checksum, key 100 and sequence number around a reply of the VM. */
function greOf(flags: number, inner = SYN_ACK, etherType = 0x0800): { protocol: number; bytes: Buffer } {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(flags, 0);
  head.writeUInt16BE(etherType, 2);
  const words = [
    ...((flags & CHECKSUM) === 0 ? [] : [0]),
    ...((flags & KEY) === 0 ? [] : [100]),
    ...((flags & SEQUENCE) === 0 ? [] : [7]),
  ].map((word) => Buffer.from([0, 0, 0, word]));
  const all = Buffer.concat([head, ...words, inner]);
  if ((flags & CHECKSUM) !== 0) all.writeUInt16BE(~sum(all) & 0xffff, 4);
  return { protocol: 47, bytes: all };
}
const damaged = (payload: { protocol: number; bytes: Buffer }) => {
  const copy = Buffer.from(payload.bytes);
  copy.writeUInt8(copy.readUInt8(copy.length - 1) ^ 1, copy.length - 1);
  return { ...payload, bytes: copy };
};
const received = (rfc: string, name: string, flags: number, reason?: string): Row => ({
  rfc,
  name,
  send: [SYN, ipPacket(HOST1, T1, greOf(flags))],
  verdict: reason === undefined ? 'Forward' : `Drop ${reason}`,
  ...(reason === undefined ? { out: [AT_CLIENT] } : {}),
});

const GRE: Row[] = [
  received('RFC 2890, 2', 'a key names the net', KEY),
  received('RFC 2890, 2', 'key and sequence number', KEY | SEQUENCE),
  received('RFC 2784, 2.1', 'checksum and key', CHECKSUM | KEY),
  received('RFC 2784, 2.1', 'checksum, key and sequence number', CHECKSUM | KEY | SEQUENCE),
  received('RFC 2784, 2.3', 'reserved bits 6 to 12 are ignored', KEY | 0x03f8),
  received('RFC 2890, 2', 'without a key no net is guessed', 0, 'TunnelKey'),
  received('RFC 2890, 2', 'a sequence number alone names no net', SEQUENCE, 'TunnelKey'),
  received('RFC 2784, 2.1', 'a checksum alone names no net', CHECKSUM, 'TunnelKey'),
  received('RFC 2784, 2.3', 'the routing bit of RFC 1701 is refused', KEY | 0x4000, 'BadTunnel'),
  received('RFC 2784, 2.3', 'the strict source route bit of RFC 1701 is refused', KEY | 0x0800, 'BadTunnel'),
  received('RFC 2784, 2.3', 'bit 5 is refused', KEY | 0x0400, 'BadTunnel'),
  received('RFC 2637, 4.1', 'version 1 is another protocol', KEY | 1, 'BadTunnel'),
  {
    rfc: 'RFC 2784, 2.1',
    name: 'a wrong checksum is refused',
    send: [SYN, ipPacket(HOST1, T1, damaged(greOf(CHECKSUM | KEY)))],
    verdict: 'Drop TunnelChecksum',
  },
  {
    rfc: 'RFC 2784, 2.4',
    name: 'what is not IP inside is refused',
    send: [SYN, ipPacket(HOST1, T1, greOf(KEY, SYN_ACK, 0x6558))],
    verdict: 'Drop BadTunnel',
  },
  ...[0, 3, 4, 7].map((length) => ({
    rfc: 'RFC 2784, 2',
    name: `${length} bytes of a header are refused`,
    send: [SYN, ipPacket(HOST1, T1, { protocol: 47, bytes: greOf(KEY).bytes.subarray(0, length) })],
    verdict: `Drop ${length === 0 || length === 3 ? 'BadTunnel' : 'BadTunnel'}`,
  })),
  {
    rfc: 'RFC 2784, 3',
    name: 'a tunnel inside a tunnel is refused',
    send: [SYN, fromVm(ipPacket(HOST1, T1, greOf(KEY)))],
    verdict: 'Drop NestedTunnel',
  },
  {
    rfc: 'RFC 2784, 6',
    name: 'the tunnel of a stranger is refused',
    send: [SYN, ipPacket('10.99.0.1', T1, greOf(KEY))],
    verdict: 'Drop UntrustedTunnel',
  },
  {
    rfc: 'RFC 2003, 4.4',
    name: 'a packet of our own that comes back is a loop',
    send: [ipPacket(T1, T1, greOf(KEY))],
    verdict: 'Drop TunnelLoop',
  },
  {
    rfc: 'RFC 2784, 2.4',
    name: 'GRE over IPv6, and its reply',
    send: [SYN6, fromVm6(ipPacket(VM6, CLIENT6, answer('SA')))],
    verdict: 'Forward',
    out: [ipPacket(VIP6, CLIENT6, answered('SA'), 63)],
  },
];

const request = (port: number) => tcp({ destinationPort: port });
const inner4 = ipPacket(CLIENT, SERVER, request(8080), 63);
const inner46 = ipPacket(CLIENT, '10.255.0.61', request(8080), 63);
const inner6 = ipPacket(CLIENT6, SERVER6, request(8080), 63);
const IPIP: Row[] = (
  [
    ['RFC 2003, 3', 'IPv4 in IPv4', CLIENT, VIP, 90, inner4, T1, SERVER, 4, SERVER],
    ['RFC 2473, 3', 'IPv4 in IPv6', CLIENT, VIP, 1046, inner46, T1V6, SERVER6, 4, '10.255.0.61'],
    ['RFC 4213, 3.5', 'IPv6 in IPv4', CLIENT6, VIP6, 1064, inner6, T1, SERVER, 41, SERVER6],
    ['RFC 2473, 3', 'IPv6 in IPv6', CLIENT6, VIP6, 1066, inner6, T1V6, SERVER6, 41, SERVER6],
  ] as const
).flatMap(([rfc, name, client, vip, port, inner, tunnel, host, protocol, server]) => {
  const send = ipPacket(client, vip, request(port));
  const back = ipPacket(server, client, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' }));
  const out = ipPacket(vip, client, tcp({ sourcePort: port, destinationPort: 40000, flags: 'SA' }), 63);
  return [
    { rfc, name, send: [send], verdict: 'Forward', out: [ipPacket(tunnel, host, { protocol, bytes: inner })] },
    {
      rfc,
      name: `${name}, the reply`,
      send: [send, ipPacket(host, tunnel, { protocol, bytes: back })],
      verdict: 'Forward',
      out: [out],
    },
  ];
});

const ECN = ['Not-ECT', 'ECT(1)', 'ECT(0)', 'CE'];
/** Figure 4 of RFC 6040: [inner][outer], as the field is numbered; -1 drops. */
const DECAPSULATION = [
  [0, 0, 0, -1],
  [1, 1, 1, 3],
  [2, 1, 2, 3],
  [3, 3, 3, 3],
];
const DSCP = 0xb8;
const MARKS: Row[] = [0, 1, 2, 3].flatMap((inner) => [
  {
    rfc: 'RFC 6040, 4.1',
    name: `encapsulation copies ${ECN[inner]} and the DSCP outside`,
    send: [ask(segment('S'), { tos: DSCP | inner })],
    verdict: 'Forward',
    out: [toVm(asked(segmented('S'), { tos: DSCP | inner }), DSCP | inner)],
  },
  ...[0, 1, 2, 3].map((outer) => {
    const mark = DECAPSULATION[inner]?.[outer] ?? -1;
    return {
      rfc: 'RFC 6040, 4.2',
      name: `inner ${ECN[inner]}, outer ${ECN[outer]} gives ${ECN[mark] ?? 'a drop'}; the DSCP outside is forgotten (RFC 2983)`,
      send: [SYN, fromVm(reply(answer('SA'), { tos: DSCP | inner }), 0x20 | outer)],
      verdict: mark < 0 ? 'Drop Congestion' : 'Forward',
      ...(mark < 0 ? {} : { out: [replied(answered('SA'), { tos: DSCP | mark })] }),
    };
  }),
]);

export const TUNNEL_ROWS: readonly Row[] = [
  ...GRE,
  ...IPIP,
  ...MARKS,
  {
    rfc: 'RFC 2003, 3.1',
    name: 'the outer header has its own TTL, DF and no identification',
    send: [ask(segment('S'), { ttl: 3, id: 7, fragment: 0 })],
    verdict: 'Forward',
    out: [ipPacket(T1, HOST1, gre(100, asked(segmented('S'), { ttl: 2, id: 7, fragment: 0 })))],
  },
];

// Rows of the internet layer: RFC 791, 1812, 1122, 6864 for IPv4; RFC 8200, 4302, 5095, 4443 for IPv6.
import { ethernet, ipPacket, tcp } from '../../../../tools/testkit/build.ts';
import { CLIENT, CLIENT6, DIRECTOR_MAC, SWITCH_MAC, VIP, VIP6 } from '../director-fixture.ts';
import { refreshIpv4 } from '../fragments.ts';
import { fragmentHeader, icmp, withExtensions } from '../headers.ts';
import {
  ROUTER,
  VM6,
  ask,
  asked,
  ask6,
  asked6,
  bytes,
  query,
  queried,
  segment,
  segmented,
  toVm,
  toVm6,
  type Row,
} from './row.ts';

const OPTIONS = {
  'no operation and end': Buffer.from([1, 1, 1, 0]),
  'record route': Buffer.from([7, 7, 4, 0, 0, 0, 0, 0]),
  'loose source route, spent': Buffer.from([131, 7, 8, 192, 0, 2, 9, 0]),
  timestamp: Buffer.from([68, 8, 5, 0, 0, 0, 0, 0]),
  'router alert (RFC 2113)': Buffer.from([148, 4, 0, 0]),
  'forty bytes': Buffer.alloc(40, 1),
};

const write = (packet: Buffer, at: number, value: number, isTrue = true): Buffer => {
  const copy = Buffer.from(packet);
  copy.writeUInt8(value, at);
  return isTrue ? refreshIpv4(copy) : copy;
};
const totalLength = (packet: Buffer, value: number): Buffer => {
  const copy = Buffer.from(packet);
  copy.writeUInt16BE(value, 2);
  return refreshIpv4(copy);
};
const payloadLength = (packet: Buffer, value: number): Buffer => {
  const copy = Buffer.from(packet);
  copy.writeUInt16BE(value, 4);
  return copy;
};
const header = ask(query());
const frame = (packet: Buffer): Buffer => ethernet(SWITCH_MAC, DIRECTOR_MAC, packet);

const IPV4: Row[] = [
  ...Object.entries(OPTIONS).map(([name, options]) => ({
    rfc: 'RFC 791, 3.1',
    name: `option ${name} passes as it is`,
    send: [ask(query(), { options })],
    verdict: 'Forward',
    out: [toVm(asked(queried(), { options }))],
  })),
  {
    rfc: 'RFC 791, 3.1',
    name: 'identification, DSCP and a header without DF pass as they are',
    send: [ask(query(), { id: 0xabcd, tos: 0xb8, fragment: 0 })],
    verdict: 'Forward',
    out: [toVm(asked(queried(), { id: 0xabcd, tos: 0xb8, fragment: 0 }), 0xb8)],
  },
  ...[
    ['version 5', write(header, 0, 0x55), 'BadHeader'],
    ['version 0', write(header, 0, 0x05), 'BadHeader'],
    ['a header of four words', write(header, 0, 0x44, false), 'BadHeader'],
    ['a header longer than the packet', write(ask(query(0)), 0, 0x4f, false), 'BadHeader'],
    ['a total length below the header', totalLength(header, 19), 'BadHeader'],
    ['a total length beyond the frame', totalLength(header, header.length + 1), 'BadHeader'],
    ['a total length of nothing', totalLength(header, 0), 'BadHeader'],
    ['a wrong header checksum', write(header, 8, 63, false), 'BadChecksum'],
  ].map(([name, packet, reason]) => ({
    rfc: 'RFC 791, 3.1',
    name: `${name as string} is refused`,
    send: [packet as Buffer],
    verdict: `Drop ${reason as string}`,
  })),
  ...[1, 0].map((ttl) => ({
    rfc: 'RFC 1812, 5.3.1',
    name: `a TTL of ${ttl} ends here, and the sender hears of it from the VIP`,
    send: [ask(query(), { ttl })],
    verdict: 'Forward',
    out: [ipPacket(VIP, CLIENT, icmp(4, 11, 0, 0, ask(query(), { ttl })))],
  })),
  {
    rfc: 'RFC 1812, 5.3.1',
    name: 'a TTL of 2 arrives as 1',
    send: [ask(query(), { ttl: 2 })],
    verdict: 'Forward',
    out: [toVm(asked(queried(), { ttl: 1 }))],
  },
  ...['0.0.0.1', '127.0.0.1', '224.0.0.1', '255.255.255.255', '0.0.0.0', '240.0.0.1'].map((source) => ({
    rfc: 'RFC 1122, 3.2.1.3',
    name: `nothing comes from ${source}`,
    send: [ipPacket(source, VIP, query())],
    verdict: 'Drop Martian',
  })),
  {
    rfc: 'RFC 1122, 3.2.1.3',
    name: 'nothing comes from the VIP itself',
    send: [ipPacket(VIP, VIP, query())],
    verdict: 'Drop SourceIsVip',
  },
  {
    rfc: 'RFC 894',
    name: 'the padding of a short frame is no part of the packet',
    isFrame: true,
    send: [Buffer.concat([frame(ask(query(3))), bytes(60)])],
    verdict: 'Forward',
    out: [toVm(asked(queried(3)))],
  },
  ...[13, 14, 15, 33].map((length) => ({
    rfc: 'RFC 894',
    name: `${length} bytes of a frame are refused`,
    isFrame: true as const,
    send: [frame(header).subarray(0, length)],
    verdict: length < 14 ? 'Drop TooShort' : 'Drop BadHeader',
  })),
  {
    rfc: 'RFC 826',
    name: 'ARP belongs to the kernel',
    isFrame: true,
    send: [Buffer.concat([frame(header).subarray(0, 12), Buffer.from([8, 6]), Buffer.alloc(28)])],
    verdict: 'Consumed NotIp',
  },
];

const hop = (type: number, length = 0): readonly [number, Buffer] => {
  const body = Buffer.alloc(8 + length * 8, 1);
  body.writeUInt8(length, 1);
  body.writeUInt8(1, 2);
  body.writeUInt8(4 + length * 8, 3);
  return [type, body];
};
const routing = (type: number, left: number): readonly [number, Buffer] => {
  const body = Buffer.alloc(24);
  body.set([0, 2, type, left]);
  return [43, body];
};
/** AH: its length counts words of four bytes, less two (RFC 4302, 2.2). */
const authentication = (words: number): readonly [number, Buffer] => {
  const body = Buffer.alloc(words * 4, 9);
  body.writeUInt8(words - 2, 1);
  return [51, body];
};
const segment6 = segment('S');
const plain6 = ask6(segment6);
const passes = (name: string, rfc: string, extensions: readonly (readonly [number, Buffer])[]): Row => ({
  rfc,
  name: `${name} before TCP passes as it is`,
  send: [withExtensions(plain6, extensions)],
  verdict: 'Forward',
  out: [toVm6(withExtensions(asked6(segmented('S')), extensions))],
});
const refused = (name: string, rfc: string, packet: Buffer, verdict: string): Row => ({
  rfc,
  name: `${name} is refused`,
  send: [packet],
  verdict,
});

const IPV6: Row[] = [
  passes('hop-by-hop options', 'RFC 8200, 4.3', [hop(0)]),
  passes('a long header of destination options', 'RFC 8200, 4.6', [hop(60, 3)]),
  passes('a routing header without segments left', 'RFC 8200, 4.4', [routing(4, 0)]),
  passes('an authentication header', 'RFC 4302, 2.2', [authentication(6)]),
  passes('every header in the order that is recommended', 'RFC 8200, 4.1', [
    hop(0),
    hop(60),
    routing(4, 0),
    authentication(4),
    hop(60),
  ]),
  passes('an atomic fragment header (RFC 6946)', 'RFC 8200, 4.5', [[44, fragmentHeader(0, false, 9)]]),
  refused(
    'a routing header with segments left',
    'RFC 8200, 4.4',
    withExtensions(plain6, [routing(4, 1)]),
    'Drop ExtensionHeaders',
  ),
  refused('routing type 0', 'RFC 5095, 3', withExtensions(plain6, [routing(0, 1)]), 'Drop ExtensionHeaders'),
  refused(
    'hop-by-hop behind another header',
    'RFC 8200, 4.1',
    withExtensions(plain6, [hop(60), hop(0)]),
    'Drop ExtensionHeaders',
  ),
  refused(
    'an endless chain',
    'RFC 8200, 4',
    withExtensions(
      plain6,
      Array.from({ length: 30 }, () => hop(60)),
    ),
    'Drop ExtensionHeaders',
  ),
  refused(
    'an extension header that runs past the packet',
    'RFC 8200, 4.2',
    (() => {
      const packet = withExtensions(plain6, [hop(60)]);
      packet.writeUInt8(200, 41);
      return packet;
    })(),
    'Drop ExtensionHeaders',
  ),
  refused('a payload length beyond the frame', 'RFC 8200, 3', payloadLength(plain6, plain6.length), 'Drop BadHeader'),
  refused('a payload length of nothing (RFC 2675)', 'RFC 8200, 3', payloadLength(plain6, 0), 'Drop BadHeader'),
  refused('version 7', 'RFC 8200, 3', write(plain6, 0, 0x70, false), 'Drop BadHeader'),
  refused('a multicast source', 'RFC 4291, 2.7', ipPacket('ff02::1', VIP6, segment6), 'Drop Martian'),
  refused('the unspecified source', 'RFC 4291, 2.5.2', ipPacket('::', VIP6, segment6), 'Drop Martian'),
  refused('the loopback source', 'RFC 4291, 2.5.3', ipPacket('::1', VIP6, segment6), 'Drop Martian'),
  {
    rfc: 'RFC 8200, 3',
    name: 'traffic class and flow label pass as they are, the class is copied outside',
    send: [
      (() => {
        const packet = Buffer.from(plain6);
        packet.writeUInt32BE(0x6b812345, 0);
        return packet;
      })(),
    ],
    verdict: 'Forward',
    out: [
      (() => {
        const inner = asked6(segmented('S'));
        inner.writeUInt32BE(0x6b812345, 0);
        const packet = toVm6(inner);
        // The class in front of the tunnel's own label.
        packet.writeUInt16BE(0x6b80 | (packet.readUInt16BE(0) & 0xf), 0);
        return packet;
      })(),
    ],
  },
  {
    rfc: 'RFC 4443, 3.3',
    name: 'a hop limit of 1 ends here, and the sender hears of it from the VIP',
    send: [ask6(segment6, 1)],
    verdict: 'Forward',
    out: [ipPacket(VIP6, CLIENT6, icmp(6, 3, 0, 0, ask6(segment6, 1)))],
  },
  {
    rfc: 'RFC 8200, 3',
    name: 'bytes behind the payload length are no part of the packet',
    isFrame: true,
    send: [Buffer.concat([frame(plain6), bytes(9)])],
    verdict: 'Forward',
    out: [toVm6(asked6(segmented('S')))],
  },
];

/** Ports and protocols that a VIP does not have. */
const UNKNOWN: Row[] = [
  {
    rfc: 'RFC 9293, 3.5.2',
    name: 'a port without listener is dropped and counted',
    send: [ask(tcp({ destinationPort: 4444 }))],
    verdict: 'Drop NoListener',
  },
  {
    rfc: 'RFC 791, 3.1',
    name: 'a protocol without listener is dropped and counted',
    send: [ask({ protocol: 89, bytes: bytes(24) })],
    verdict: 'Drop NoListener',
  },
  {
    rfc: 'RFC 792',
    name: 'ICMP of IPv6 inside IPv4 is refused',
    send: [ipPacket(ROUTER, VIP, { protocol: 58, bytes: bytes(24) })],
    verdict: 'Drop Protocol',
  },
  {
    rfc: 'RFC 4443, 2.1',
    name: 'ICMP of IPv4 inside IPv6 is refused',
    send: [ipPacket(VM6, VIP6, { protocol: 1, bytes: bytes(24) })],
    verdict: 'Drop Protocol',
  },
];

export const IP_ROWS: readonly Row[] = [...IPV4, ...IPV6, ...UNKNOWN];

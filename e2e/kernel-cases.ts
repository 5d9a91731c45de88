// The cases of the comparison with the Linux kernel: packets that both get, in order, from the client's side and from the target's.
import { fragmentOf, fragmentsOf, refreshIpv4 } from '../packages/core-wasm/test/fragments.ts';
import { icmp } from '../packages/core-wasm/test/headers.ts';
import { ipPacket, tcp, udp } from '../tools/testkit/build.ts';

export const CLIENT = '198.51.100.1';
export const VIP = '203.0.113.10';
export const TARGET = '10.255.0.43';
export const CLIENT6 = '2001:db8:c::1';
export const VIP6 = '2001:db8:5::10';
export const TARGET6 = 'fd00:255::43';
/** Targets behind a route that takes 1,300 bytes, without a tunnel. */
export const NARROW = '10.255.1.44';
export const NARROW6 = 'fd00:255:1::44';
export const NARROW_MTU = 1300;
/** A VM with an EIP, and the local address of full NAT. */
export const VM = '10.0.0.3';
export const EIP = '203.0.113.77';
export const LOCAL = '100.80.16.1';
const ROUTER = '192.0.2.1';
const ROUTER6 = '2001:db8:ffff::1';
/** VIP ports of full NAT; each has one port of the local address, so that both choose the same. */
export const FULL = [201, 202, 203, 204, 205, 206] as const;
export const localPort = (vport: number): number => 4000 + vport;

export type Side = 'out' | 'in';
export interface Step {
  readonly from: Side;
  readonly packet: Buffer;
}
const bytes = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, index) => (index * 5) & 255));
const fromClient = (packet: Buffer): Step => ({ from: 'out', packet });
const fromTarget = (packet: Buffer): Step => ({ from: 'in', packet });
const ask = (port: number, length = 40): Buffer => ipPacket(CLIENT, VIP, udp(port, 54, bytes(length)));
const answer = (port: number, length = 40): Buffer => ipPacket(TARGET, CLIENT, udp(8080, port, bytes(length)));
const segment = (port: number, flags: string, payload: Buffer = Buffer.alloc(0), sequence = 1): Buffer =>
  ipPacket(CLIENT, VIP, tcp({ sourcePort: port, destinationPort: 94, flags, payload, sequence }));
const back = (port: number, flags: string): Buffer =>
  ipPacket(TARGET, CLIENT, tcp({ sourcePort: 8080, destinationPort: port, flags, acknowledgement: 2, sequence: 100 }));

const icmpError = (type: number, code: number, rest: number, quoted: Buffer) => icmp(4, type, code, rest, quoted);
const sentByTarget = (port: number): Buffer =>
  ipPacket(VIP, CLIENT, tcp({ sourcePort: 94, destinationPort: port, flags: 'A', sequence: 101, acknowledgement: 2 }));
const handshake = (port: number): Step[] => [
  fromClient(segment(port, 'S')),
  fromTarget(back(port, 'SA')),
  fromClient(segment(port, 'A')),
];
const cutAt = [0, 504, 1000];

export const SAME: [string, Step[]][] = [
  ['a datagram and its answer', [fromClient(ask(1001)), fromTarget(answer(1001))]],
  ['a TCP handshake', handshake(1002)],
  ['the middle of a connection that began elsewhere', [fromClient(segment(1003, 'A', bytes(10)))]],
  ['fragments in order', fragmentsOf(ask(1004, 1400), cutAt).map(fromClient)],
  ['fragments, the first last', fragmentsOf(ask(1005, 1400), cutAt, 5).reverse().map(fromClient)],
  [
    'fragments and a duplicate',
    [0, 1, 1, 2].map((index) => fromClient(fragmentsOf(ask(1006, 1400), cutAt, 6)[index]!)),
  ],
  [
    'a TCP segment in fragments',
    [...handshake(1007), ...fragmentsOf(segment(1007, 'A', bytes(1400)), cutAt, 7).map(fromClient)],
  ],
  ['an answer in fragments', [fromClient(ask(1008)), ...fragmentsOf(answer(1008, 1400), cutAt, 8).map(fromTarget)]],
  [
    'overlapping fragments',
    [
      fragmentOf(ask(1009, 1400), 0, 504, false, 9),
      fragmentOf(ask(1009, 1400), 400, 600, false, 9),
      fragmentOf(ask(1009, 1400), 1000, 408, true, 9),
    ].map(fromClient),
  ],
  [
    'port unreachable of the target',
    [
      fromClient(ask(1010)),
      fromTarget(
        ipPacket(TARGET, CLIENT, icmpError(3, 3, 0, ipPacket(CLIENT, TARGET, udp(1010, 8080, bytes(40)), 63))),
      ),
    ],
  ],
  [
    'fragmentation needed on the way to the client',
    [...handshake(1011), fromClient(ipPacket(ROUTER, VIP, icmpError(3, 4, 1400, sentByTarget(1011))))],
  ],
  [
    'fragmentation needed, with eight quoted bytes',
    [...handshake(1012), fromClient(ipPacket(ROUTER, VIP, icmpError(3, 4, 1400, sentByTarget(1012).subarray(0, 28))))],
  ],
  [
    'time exceeded on the way to the client',
    [...handshake(1013), fromClient(ipPacket(ROUTER, VIP, icmpError(11, 0, 0, sentByTarget(1013))))],
  ],
  ['a reset', [...handshake(1014), fromClient(segment(1014, 'R', Buffer.alloc(0), 2))]],
];

const withoutChecksum = (packet: Buffer): Buffer => {
  const copy = Buffer.from(packet);
  copy.writeUInt16BE(0, 26);
  return copy;
};
const withRoute = (packet: Buffer): Buffer => {
  const copy = Buffer.concat([packet.subarray(0, 20), Buffer.from([7, 7, 4, 0, 0, 0, 0, 0]), packet.subarray(20)]);
  copy.writeUInt8(0x47, 0);
  copy.writeUInt16BE(copy.length, 2);
  return refreshIpv4(copy);
};
SAME.push(['a datagram without a checksum', [fromClient(withoutChecksum(ask(1015)))]]);

const ask6 = (port: number, length = 40): Buffer => ipPacket(CLIENT6, VIP6, udp(port, 54, bytes(length)));
const answer6 = (port: number, length = 40): Buffer => ipPacket(TARGET6, CLIENT6, udp(8080, port, bytes(length)));
const segment6 = (port: number, flags: string, payload: Buffer = Buffer.alloc(0)): Buffer =>
  ipPacket(CLIENT6, VIP6, tcp({ sourcePort: port, destinationPort: 94, flags, payload }));
const handshake6 = (port: number): Step[] => [
  fromClient(segment6(port, 'S')),
  fromTarget(
    ipPacket(
      TARGET6,
      CLIENT6,
      tcp({ sourcePort: 8080, destinationPort: port, flags: 'SA', acknowledgement: 2, sequence: 100 }),
    ),
  ),
  fromClient(segment6(port, 'A')),
];
const sentByTarget6 = (port: number): Buffer =>
  ipPacket(
    VIP6,
    CLIENT6,
    tcp({ sourcePort: 94, destinationPort: port, flags: 'A', sequence: 101, acknowledgement: 2 }),
  );
const error6 = (type: number, code: number, rest: number, quoted: Buffer): Buffer =>
  ipPacket(ROUTER6, VIP6, icmp(6, type, code, rest, quoted));
SAME.push(
  ['a datagram and its answer over IPv6', [fromClient(ask6(2001)), fromTarget(answer6(2001))]],
  ['a TCP handshake over IPv6', handshake6(2002)],
  ['fragments over IPv6 in order', fragmentsOf(ask6(2003, 1400), cutAt, 3).map(fromClient)],
  ['fragments over IPv6, the first last', fragmentsOf(ask6(2004, 1400), cutAt, 4).reverse().map(fromClient)],
  [
    'an answer in fragments over IPv6',
    [fromClient(ask6(2005)), ...fragmentsOf(answer6(2005, 1400), cutAt, 5).map(fromTarget)],
  ],
  [
    'overlapping fragments over IPv6',
    [
      fragmentOf(ask6(2006, 1400), 0, 504, false, 6),
      fragmentOf(ask6(2006, 1400), 400, 600, false, 6),
      fragmentOf(ask6(2006, 1400), 1000, 408, true, 6),
    ].map(fromClient),
  ],
  [
    'packet too big on the way to the client',
    [...handshake6(2008), fromClient(error6(2, 0, 1400, sentByTarget6(2008)))],
  ],
  [
    'packet too big, with eight quoted bytes',
    [...handshake6(2009), fromClient(error6(2, 0, 1400, sentByTarget6(2009).subarray(0, 48)))],
  ],
  ['time exceeded over IPv6', [...handshake6(2010), fromClient(error6(3, 0, 0, sentByTarget6(2010)))]],
  [
    'port unreachable of the target over IPv6',
    [
      fromClient(ask6(2011)),
      fromTarget(
        ipPacket(TARGET6, CLIENT6, icmp(6, 1, 4, 0, ipPacket(CLIENT6, TARGET6, udp(2011, 8080, bytes(40)), 63))),
      ),
    ],
  ],
);

/** Full NAT: the target sees the local address, the client the VIP. */
const askFull = (vport: number, length = 40): Buffer => ipPacket(CLIENT, VIP, udp(3000 + vport, vport, bytes(length)));
const seenFull = (vport: number, length = 40): Buffer =>
  ipPacket(LOCAL, TARGET, udp(localPort(vport), 8080, bytes(length)), 63);
const answerFull = (vport: number, length = 40): Buffer =>
  ipPacket(TARGET, LOCAL, udp(8080, localPort(vport), bytes(length)));
const fullTcp = (flags: string): Step =>
  fromClient(
    ipPacket(CLIENT, VIP, tcp({ sourcePort: 3204, destinationPort: 204, flags, sequence: flags === 'S' ? 1 : 2 })),
  );
SAME.push(
  ['full NAT and its answer', [fromClient(askFull(201)), fromTarget(answerFull(201))]],
  ['full NAT in fragments', fragmentsOf(askFull(202, 1400), cutAt, 202).map(fromClient)],
  [
    'an answer in fragments through full NAT',
    [fromClient(askFull(203)), ...fragmentsOf(answerFull(203, 1400), cutAt, 203).map(fromTarget)],
  ],
  [
    'a TCP handshake through full NAT',
    [
      fullTcp('S'),
      fromTarget(
        ipPacket(
          TARGET,
          LOCAL,
          tcp({ sourcePort: 8080, destinationPort: localPort(204), flags: 'SA', acknowledgement: 2, sequence: 100 }),
        ),
      ),
      fullTcp('A'),
    ],
  ],
  [
    'port unreachable of the target through full NAT',
    [fromClient(askFull(205)), fromTarget(ipPacket(TARGET, LOCAL, icmpError(3, 3, 0, seenFull(205))))],
  ],
);

/** Source NAT and back, one to one: an EIP. */
const fromVm = (port: number, length = 40): Buffer => ipPacket(VM, CLIENT, udp(port, 53, bytes(length)));
const toEip = (port: number, length = 40): Buffer => ipPacket(CLIENT, EIP, udp(53, port, bytes(length)));
SAME.push(
  ['source NAT of a VM with an EIP, and the answer', [fromTarget(fromVm(4001)), fromClient(toEip(4001))]],
  ['a connection to an EIP', [fromClient(ipPacket(CLIENT, EIP, tcp({ sourcePort: 4002, destinationPort: 22 })))]],
  ['an echo to an EIP', [fromClient(ipPacket(CLIENT, EIP, icmp(4, 8, 0, 0x40030001, bytes(20))))]],
  ['source NAT in fragments', fragmentsOf(fromVm(4004, 1400), cutAt, 204).map(fromTarget)],
  ['fragments to an EIP', fragmentsOf(toEip(4005, 1400), cutAt, 205).map(fromClient)],
  [
    'port unreachable of a VM with an EIP',
    [
      fromClient(toEip(4006)),
      fromTarget(ipPacket(VM, CLIENT, icmpError(3, 3, 0, ipPacket(CLIENT, VM, udp(53, 4006, bytes(40)), 63)))),
    ],
  ],
  [
    'fragmentation needed to an EIP',
    [
      fromTarget(fromVm(4007)),
      fromClient(ipPacket(ROUTER, EIP, icmpError(3, 4, 1400, ipPacket(EIP, CLIENT, udp(4007, 53, bytes(40)), 63)))),
    ],
  ],
);

/** Behind a narrow route: what may be cut is cut, and put together it is the same datagram. */
const askNarrow = (port: number, length: number): Buffer => {
  const packet = ipPacket(CLIENT, VIP, udp(port, 154, bytes(length)));
  packet.writeUInt16BE(port, 4);
  packet.writeUInt16BE(0, 6);
  return refreshIpv4(packet);
};
SAME.push(
  ['a datagram without DF that is cut', [fromClient(askNarrow(5001, 1400))]],
  ['a datagram that just fits', [fromClient(askNarrow(5002, NARROW_MTU - 28))]],
  [
    'a redirect, which nobody passes on',
    [...handshake(5003), fromClient(ipPacket(ROUTER, VIP, icmpError(5, 1, 0xc0000201, sentByTarget(5003))))],
  ],
);

/** What is answered with an error: the answers are compared field by field, because their headers differ (docs/reference). */
export const ANSWERED: [string, Step][] = [
  ['packets that are too big', fromClient(ipPacket(CLIENT, VIP, udp(6001, 154, bytes(1400))))],
  ['packets that are too big, by one byte', fromClient(ipPacket(CLIENT, VIP, udp(6002, 154, bytes(NARROW_MTU - 27))))],
  ['packets that are too big, over IPv6', fromClient(ipPacket(CLIENT6, VIP6, udp(6003, 154, bytes(1400))))],
  ['hops that run out', fromClient(ipPacket(CLIENT, VIP, udp(6004, 54, bytes(10)), 1))],
  ['hops that run out over IPv6', fromClient(ipPacket(CLIENT6, VIP6, udp(6005, 54, bytes(10)), 1))],
];

export const DIFFERENT: [string, Step[]][] = [
  ['resets outside the window', [...handshake(1106), fromClient(segment(1106, 'R', Buffer.alloc(0), 0x7fffffff))]],
  [
    'tiny first fragments',
    [
      fromClient(fragmentOf(segment(1101, 'S', bytes(64)), 0, 16, false, 11)),
      fromClient(fragmentOf(segment(1101, 'S', bytes(64)), 16, 68, true, 11)),
    ],
  ],
  ['hops that run out', [fromClient(ipPacket(CLIENT, VIP, udp(1102, 54, bytes(10)), 1))]],
  ['errors about unknown flows', [fromClient(ipPacket(ROUTER, VIP, icmpError(3, 4, 1400, sentByTarget(1103))))]],
  ['record route', [fromClient(withRoute(ask(1104)))]],
  [
    'wrong transport checksums',
    [fromClient(Buffer.concat([ask(1105).subarray(0, 60), Buffer.from([1, 2, 3, 4, 5, 6, 7, 8])]))],
  ],
  [
    'datagrams over IPv6 without a checksum',
    [
      fromClient(
        (() => {
          const packet = ask6(2101);
          packet.writeUInt16BE(0, 46);
          return packet;
        })(),
      ),
    ],
  ],
  ['packets that are too big', [fromClient(ipPacket(CLIENT, VIP, udp(6101, 154, bytes(1400))))]],
  ['atomic fragments over IPv6', [fromClient(fragmentOf(ask6(2007), 0, 48, true, 7))]],
  [
    'errors of routers through full NAT',
    [
      fromClient(askFull(206)),
      fromTarget(answerFull(206)),
      fromClient(ipPacket(ROUTER, VIP, icmpError(11, 0, 0, ipPacket(VIP, CLIENT, udp(206, 3206, bytes(40)))))),
    ],
  ],
];

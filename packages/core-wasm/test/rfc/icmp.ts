// Rows of ICMP: RFC 792, 1812 and 1122 (IPv4), 4443 (IPv6), 5508 (through NAT), 1191 and 8201 (path MTU), 7690 (behind many directors).
import { ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { CLIENT, CLIENT6, HOST1, T1, VIP, VIP6, VM_A1 } from '../director-fixture.ts';
import { icmp, ipv4 } from '../headers.ts';
import {
  DF,
  ROUTER,
  ROUTER6,
  SYN,
  SYN6,
  VM6,
  answer,
  answered,
  ask,
  ask6,
  asked,
  asked6,
  bytes,
  fromVm,
  fromVm6,
  queried,
  query,
  segment,
  segmented,
  toVm,
  toVm6,
  type Row,
} from './row.ts';

const ECHO: Row[] = [
  {
    rfc: 'RFC 792, echo',
    name: 'the VIP answers with identifier, sequence number and data of the request',
    send: [ask(icmp(4, 8, 0, 0x12340007, bytes(33)), { id: 9, fragment: 0 })],
    verdict: 'Forward',
    out: [ipv4(VIP, CLIENT, icmp(4, 0, 0, 0x12340007, bytes(33)), { id: 9 })],
  },
  ...[0, 9, 10].map((length) => ({
    rfc: 'RFC 1624, 3',
    name: `an answer of nothing but zeros has a checksum of ones, ${length} bytes of data`,
    send: [ask(icmp(4, 8, 0, 0, Buffer.alloc(length)))],
    verdict: 'Forward',
    out: [ipPacket(VIP, CLIENT, icmp(4, 0, 0, 0, Buffer.alloc(length)))],
  })),
  {
    rfc: 'RFC 4443, 4.2',
    name: 'over IPv6',
    send: [ask6(icmp(6, 128, 0, 0x12340007, bytes(33)), 3)],
    verdict: 'Forward',
    out: [ipPacket(VIP6, CLIENT6, icmp(6, 129, 0, 0x12340007, bytes(33)))],
  },
  {
    rfc: 'RFC 792, echo',
    name: 'an answer to nothing is dropped',
    send: [ask(icmp(4, 0, 0, 1, bytes(8)))],
    verdict: 'Drop IcmpType',
  },
  ...[9, 10, 13, 15, 17].map((type) => ({
    rfc: 'RFC 1122, 3.2.2',
    name: `type ${type} is nothing for a VIP`,
    send: [ask(icmp(4, type, 0, 0, bytes(16)))],
    verdict: 'Drop IcmpType',
  })),
  {
    rfc: 'RFC 1812, 5.2.7.2',
    name: 'a redirect comes from a router on the link or from nobody',
    send: [SYN, ipPacket(ROUTER, VIP, icmp(4, 5, 1, 0xc0000201, ipPacket(VIP, CLIENT, answered('A'))))],
    verdict: 'Drop IcmpType',
  },
  {
    rfc: 'RFC 792',
    name: 'seven bytes are no message',
    send: [ask({ protocol: 1, bytes: bytes(7) })],
    verdict: 'Drop TooShort',
  },
];

const sent = ipPacket(VIP, CLIENT, answered('A'));
const theVms = ipPacket(VM_A1, CLIENT, answer('A'));
const sent6 = ipPacket(VIP6, CLIENT6, answered('A'));
const theVms6 = ipPacket(VM6, CLIENT6, answer('A'));

/** An error about what the VIP has sent finds the VM, and the VM finds in it what it has sent itself. */
const inward = (rfc: string, name: string, type: number, code: number, rest = 0, left = 9999): Row => ({
  rfc,
  name: `to the VIP: ${name}`,
  send: [SYN, ipPacket(ROUTER, VIP, icmp(4, type, code, rest, sent.subarray(0, 20 + left)))],
  verdict: 'Forward',
  out: [toVm(ipPacket(ROUTER, VM_A1, icmp(4, type, code, rest, theVms.subarray(0, 20 + left)), 63))],
});
const inward6 = (rfc: string, name: string, type: number, code: number, rest = 0, left = 9999): Row => ({
  rfc,
  name: `to the VIP over IPv6: ${name}`,
  send: [SYN6, ipPacket(ROUTER6, VIP6, icmp(6, type, code, rest, sent6.subarray(0, 40 + left)))],
  verdict: 'Forward',
  out: [toVm6(ipPacket(ROUTER6, VM6, icmp(6, type, code, rest, theVms6.subarray(0, 40 + left)), 63))],
});
const UNREACHABLE = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const datagram = ipPacket(CLIENT, VIP, query());
const theVmsDatagram = ipPacket(CLIENT, VM_A1, queried());
const outward = (rfc: string, name: string, type: number, code: number, rest = 0): Row => ({
  rfc,
  name: `from the VM: ${name}`,
  send: [ask(query()), fromVm(ipPacket(VM_A1, CLIENT, icmp(4, type, code, rest, theVmsDatagram)))],
  verdict: 'Forward',
  out: [ipPacket(VIP, CLIENT, icmp(4, type, code, rest, datagram), 63)],
});
const outward6 = (rfc: string, name: string, type: number, code: number, rest = 0): Row => ({
  rfc,
  name: `from the VM over IPv6: ${name}`,
  send: [ask6(query()), fromVm6(ipPacket(VM6, CLIENT6, icmp(6, type, code, rest, asked6(queried(), 64))))],
  verdict: 'Forward',
  out: [ipPacket(VIP6, CLIENT6, icmp(6, type, code, rest, ask6(query())), 63)],
});
const ERRORS: Row[] = [
  ...UNREACHABLE.map((code) => inward('RFC 792, destination unreachable', `unreachable, code ${code}`, 3, code)),
  inward('RFC 1191, 4', 'fragmentation needed, the MTU as it is', 3, 4, 1400),
  inward('RFC 1191, 5', 'fragmentation needed of an old router, without MTU', 3, 4, 0),
  inward('RFC 792, time exceeded', 'time exceeded in transit', 11, 0),
  inward('RFC 792, time exceeded', 'time exceeded in reassembly', 11, 1),
  inward('RFC 792, parameter problem', 'parameter problem, the pointer as it is', 12, 0, 0x08000000),
  inward('RFC 792, source quench', 'source quench', 4, 0),
  inward('RFC 5508, 4.2', 'eight bytes of the transport are enough', 3, 1, 0, 8),
  inward('RFC 1812, 4.3.2.3', 'sixteen bytes end before the checksum', 3, 1, 0, 16),
  inward('RFC 1812, 4.3.2.3', 'eighteen bytes end behind it', 3, 1, 0, 18),
  ...[0, 1, 2, 3, 4, 5, 6].map((code) => inward6('RFC 4443, 3.1', `unreachable, code ${code}`, 1, code)),
  inward6('RFC 8201, 4', 'packet too big, the MTU as it is', 2, 0, 1400),
  inward6('RFC 4443, 3.3', 'time exceeded', 3, 0),
  inward6('RFC 4443, 3.4', 'parameter problem, the pointer as it is', 4, 1, 6),
  inward6('RFC 4443, 2.4', 'eight bytes of the transport are enough', 1, 3, 0, 8),
  outward('RFC 792, destination unreachable', 'port unreachable', 3, 3),
  outward('RFC 792, destination unreachable', 'administratively prohibited', 3, 13),
  outward('RFC 1191, 4', 'fragmentation needed', 3, 4, 1300),
  outward('RFC 792, time exceeded', 'time exceeded in reassembly', 11, 1),
  outward6('RFC 4443, 3.1', 'port unreachable', 1, 4),
  outward6('RFC 8201, 4', 'packet too big', 2, 0, 1300),
  {
    rfc: 'RFC 5508, 4.2',
    name: 'an error that quotes no flow is dropped',
    send: [
      ask(query()),
      fromVm(ipPacket(VM_A1, CLIENT, icmp(4, 3, 3, 0, ipPacket(CLIENT, VM_A1, udp(7, 7, bytes(9)))))),
    ],
    verdict: 'Drop IcmpUnmatched',
  },
  {
    rfc: 'RFC 7690, 3',
    name: 'an error about a flow of another director finds the VM that all compute',
    send: [ipPacket(ROUTER, VIP, icmp(4, 3, 4, 1400, sent))],
    verdict: 'Forward',
    out: [toVm(ipPacket(ROUTER, VM_A1, icmp(4, 3, 4, 1400, theVms), 63))],
  },
  ...[
    [
      'of another port of the VIP',
      ipPacket(VIP, CLIENT, tcp({ sourcePort: 4444, destinationPort: 40000, flags: 'A' })),
    ],
    ['of seven bytes of transport', sent.subarray(0, 27)],
    ['of a later fragment', ipv4(VIP, CLIENT, answered('A'), { fragment: 100 })],
  ].map(([name, quoted]) => ({
    rfc: 'RFC 5508, 4.2',
    name: `a quote ${name as string} is dropped`,
    send: [SYN, ipPacket(ROUTER, VIP, icmp(4, 3, 1, 0, quoted as Buffer))],
    verdict: 'Drop IcmpUnmatched',
  })),
  {
    rfc: 'RFC 5508, 4.3',
    name: 'an error ends no flow',
    send: [ask(query()), fromVm(ipPacket(VM_A1, CLIENT, icmp(4, 3, 3, 0, theVmsDatagram))), ask(query())],
    verdict: 'Forward',
    out: [toVm(asked(queried()))],
  },
];

const large = ask(segment('A', { payload: bytes(1440) }));
const large6 = ask6(tcp({ destinationPort: 80, flags: 'A', payload: bytes(1440) }));
const learned = ipPacket('10.255.0.1', T1, icmp(4, 3, 4, 1300, toVm(asked(segmented('A')))));
const middle = ask(segment('A', { payload: bytes(1300) }));
const tooBig = (mtu: number, quoted: Buffer): Buffer =>
  ipPacket(VIP, CLIENT, icmp(4, 3, 4, mtu, quoted.subarray(0, 576 - 28)));
const PMTU: Row[] = [
  {
    rfc: 'RFC 1191, 4',
    name: 'what is too large with DF is answered with the MTU less the tunnel',
    send: [large],
    verdict: 'Forward',
    out: [tooBig(1472, large)],
  },
  {
    rfc: 'RFC 1191, 4',
    name: 'the largest packet that fits passes',
    send: [SYN, ask(segment('A', { payload: bytes(1432) }))],
    verdict: 'Forward',
    out: [toVm(asked(segmented('A', { payload: bytes(1432) })))],
  },
  {
    rfc: 'RFC 1191, 4',
    name: 'one byte more does not',
    send: [ask(segment('A', { payload: bytes(1433) }))],
    verdict: 'Forward',
    out: [tooBig(1472, ask(segment('A', { payload: bytes(1433) })))],
  },
  {
    rfc: 'RFC 8201, 4',
    name: 'over IPv6 the answer quotes as much as fits 1,280 bytes',
    send: [large6],
    verdict: 'Forward',
    out: [ipPacket(VIP6, CLIENT6, icmp(6, 2, 0, 1452, large6.subarray(0, 1280 - 48)))],
  },
  {
    rfc: 'RFC 2003, 5.1',
    name: 'an error about our own tunnel is learned and goes no further',
    send: [SYN, learned],
    verdict: 'Consumed TunnelPmtu',
  },
  {
    rfc: 'RFC 2003, 5.1',
    name: 'and from then on the client hears of the smaller tunnel',
    send: [SYN, learned, middle],
    verdict: 'Forward',
    out: [tooBig(1272, middle)],
  },
  {
    rfc: 'RFC 2003, 5.1',
    name: 'a SYN is lowered to it',
    send: [SYN, learned, ask(segment('S', { sourcePort: 41_000, mss: 1460 }))],
    verdict: 'Forward',
    out: [toVm(asked(segmented('S', { sourcePort: 41_000, mss: 1232 })))],
  },
  {
    rfc: 'RFC 1122, 3.2.2',
    name: 'an error is never answered with an error',
    send: [SYN, ipPacket(ROUTER, VIP, icmp(4, 11, 0, 0, sent), 1)],
    verdict: 'Drop TtlExceeded',
  },
  {
    rfc: 'RFC 4443, 2.4',
    name: 'nor over IPv6',
    send: [SYN6, ipPacket(ROUTER6, VIP6, icmp(6, 3, 0, 0, sent6), 1)],
    verdict: 'Drop TtlExceeded',
  },
  {
    rfc: 'RFC 1122, 3.2.2',
    name: 'nor is a later fragment',
    send: [
      ipv4(CLIENT, VIP, query(40), { fragment: 0x2000, id: 5 }),
      ipv4(CLIENT, VIP, { protocol: 17, bytes: bytes(40) }, { fragment: 6, id: 5, ttl: 1 }),
    ],
    verdict: 'Drop TtlExceeded',
  },
  {
    rfc: 'RFC 1191, 3',
    name: 'an error about a tunnel that is not ours is absorbed',
    send: [ipPacket('10.255.0.1', T1, icmp(4, 3, 4, 1300, ipv4('10.9.9.9', HOST1, segment('A'), { fragment: DF })))],
    verdict: 'Consumed TunnelPmtu',
  },
];

export const ICMP_ROWS: readonly Row[] = [...ECHO, ...ERRORS, ...PMTU];

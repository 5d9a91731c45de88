// Rows of address translation: RFC 2663 and 3022 (kinds), 4787, 5382, 5508, 6888, 7857 (behaviour), where a load balancer has it.
import { gre, ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { ANYCAST, CLIENT, CLIENT6, EIP, HOST1, HOST2, T1, VIP, VM_A1, VM_A2 } from '../director-fixture.ts';
import { icmp } from '../headers.ts';
import {
  LOCAL,
  LOCAL_PORT,
  ROUTER,
  SYN,
  answer,
  answered,
  ask,
  asked,
  bytes,
  fromVm,
  fromVm6,
  queried,
  query,
  replied,
  reply,
  segment,
  segmented,
  toVm,
  type Row,
} from './row.ts';

const toEip = (inner: Buffer): Buffer => ipPacket(ANYCAST, HOST2, gre(100, inner));
const fromEip = (inner: Buffer): Buffer => ipPacket(HOST2, ANYCAST, gre(100, inner));
const ssh = tcp({ destinationPort: 22 });
const BASIC: Row[] = [
  {
    rfc: 'RFC 3022, 2.1',
    name: 'basic NAT inbound: an EIP is its instance, ports stay',
    send: [ipPacket(CLIENT, EIP, ssh)],
    verdict: 'Forward',
    out: [toEip(ipPacket(CLIENT, VM_A2, ssh, 63))],
  },
  {
    rfc: 'RFC 3022, 2.1',
    name: 'basic NAT outbound, without a flow',
    send: [fromEip(ipPacket(VM_A2, CLIENT, query()))],
    verdict: 'Forward',
    out: [ipPacket(EIP, CLIENT, query(), 63)],
  },
  {
    rfc: 'RFC 3022, 4.2',
    name: 'echo passes an EIP both ways: in',
    send: [ipPacket(CLIENT, EIP, icmp(4, 8, 0, 7, bytes(9)))],
    verdict: 'Forward',
    out: [toEip(ipPacket(CLIENT, VM_A2, icmp(4, 8, 0, 7, bytes(9)), 63))],
  },
  {
    rfc: 'RFC 3022, 4.2',
    name: 'and out',
    send: [fromEip(ipPacket(VM_A2, CLIENT, icmp(4, 0, 0, 7, bytes(9))))],
    verdict: 'Forward',
    out: [ipPacket(EIP, CLIENT, icmp(4, 0, 0, 7, bytes(9)), 63)],
  },
  {
    rfc: 'RFC 3022, 4.3',
    name: 'an error to an EIP quotes what the instance has sent',
    send: [ipPacket(ROUTER, EIP, icmp(4, 3, 4, 1300, ipPacket(EIP, CLIENT, query())))],
    verdict: 'Forward',
    out: [toEip(ipPacket(ROUTER, VM_A2, icmp(4, 3, 4, 1300, ipPacket(VM_A2, CLIENT, query())), 63))],
  },
  {
    rfc: 'RFC 3022, 4.3',
    name: 'an error of an instance quotes what its EIP has got',
    send: [fromEip(ipPacket(VM_A2, CLIENT, icmp(4, 3, 3, 0, ipPacket(CLIENT, VM_A2, query()))))],
    verdict: 'Forward',
    out: [ipPacket(EIP, CLIENT, icmp(4, 3, 3, 0, ipPacket(CLIENT, EIP, query())), 63)],
  },
  {
    rfc: 'RFC 3022, 2.1',
    name: 'a protocol without ports passes an EIP',
    send: [ipPacket(CLIENT, EIP, { protocol: 50, bytes: bytes(40) })],
    verdict: 'Forward',
    out: [toEip(ipPacket(CLIENT, VM_A2, { protocol: 50, bytes: bytes(40) }, 63))],
  },
  {
    rfc: 'RFC 2663, 3.1',
    name: 'a VM without an EIP does not reach out by one',
    send: [ipPacket(HOST1, ANYCAST, gre(100, ipPacket(VM_A1, CLIENT, query())))],
    verdict: 'Drop NoEip',
  },
  {
    rfc: 'RFC 2663, 9',
    name: 'nor does another host in its name',
    send: [ipPacket(HOST1, ANYCAST, gre(100, ipPacket(VM_A2, CLIENT, query())))],
    verdict: 'Drop SourceElsewhere',
  },
];

const DESTINATION: Row[] = [
  {
    rfc: 'RFC 2663, 4.3',
    name: 'inbound: the VIP becomes the target, the client stays',
    send: [SYN],
    verdict: 'Forward',
    out: [toVm(asked(segmented('S')))],
  },
  {
    rfc: 'RFC 2663, 4.3',
    name: 'outbound: the target becomes the VIP',
    send: [SYN, fromVm(reply(answer('SA')))],
    verdict: 'Forward',
    out: [replied(answered('SA'))],
  },
  {
    rfc: 'RFC 4787, 4.1',
    name: 'a flow keeps its mapping',
    send: [ask(query()), ask(query(3))],
    verdict: 'Forward',
    out: [toVm(asked(queried(3)))],
  },
  {
    rfc: 'RFC 4787, 5',
    name: 'a reply from another port of the target is no reply',
    send: [ask(query()), fromVm(reply(udp(8081, 5353, bytes(3))))],
    verdict: 'Drop NoFlow',
  },
  {
    rfc: 'RFC 4787, 5',
    name: 'nor is one in another VPC',
    send: [ask(query()), ipPacket(HOST1, T1, gre(200, reply(udp(8080, 5353, bytes(3)))))],
    verdict: 'Drop NoFlow',
  },
  {
    rfc: 'RFC 5382, 4.3',
    name: 'FINs of both sides pass, and the last ACK',
    send: [
      SYN,
      fromVm(reply(answer('SA'))),
      ask(segment('A')),
      ask(segment('FA')),
      fromVm(reply(answer('FA'))),
      ask(segment('A', { sequence: 2 })),
    ],
    verdict: 'Forward',
    out: [toVm(asked(segmented('A', { sequence: 2 })))],
  },
  {
    rfc: 'RFC 5382, 4.1',
    name: 'a RST passes',
    send: [SYN, ask(segment('R'))],
    verdict: 'Forward',
    out: [toVm(asked(segmented('R')))],
  },
  {
    rfc: 'RFC 7857, 2.1',
    name: 'a RST of the target passes',
    send: [SYN, fromVm(reply(answer('R')))],
    verdict: 'Forward',
    out: [replied(answered('R'))],
  },
];

const request = (sourcePort: number, length = 20) => udp(sourcePort, 95, bytes(length));
const requested = (length = 20) => udp(LOCAL_PORT, 8080, bytes(length));
const atVm = (payload: Parameters<typeof ipPacket>[2]): Buffer => toVm(ipPacket(LOCAL, VM_A1, payload, 63));
const FULL: Row[] = [
  {
    rfc: 'RFC 2663, 4.4',
    name: 'twice NAT inbound: both ends change',
    send: [ask(request(5353))],
    verdict: 'Forward',
    out: [atVm(requested())],
  },
  {
    rfc: 'RFC 2663, 4.4',
    name: 'twice NAT outbound: both ends are restored',
    send: [ask(request(5353)), fromVm(ipPacket(VM_A1, LOCAL, udp(8080, LOCAL_PORT, bytes(5))))],
    verdict: 'Forward',
    out: [replied(udp(95, 5353, bytes(5)))],
  },
  {
    rfc: 'RFC 2663, 4.1.2',
    name: 'TCP as well',
    send: [ask(tcp({ destinationPort: 95 }))],
    verdict: 'Forward',
    out: [atVm(tcp({ sourcePort: LOCAL_PORT, destinationPort: 8080 }))],
  },
  {
    rfc: 'RFC 6888, 3',
    name: 'a pool without a free port refuses, and says so',
    send: [ask(request(5353)), ask(request(5354))],
    verdict: 'Drop PortPool',
  },
  {
    rfc: 'RFC 4787, 4.2.1',
    name: 'one port serves two protocols',
    send: [ask(request(5353)), ask(tcp({ destinationPort: 95 }))],
    verdict: 'Forward',
    out: [atVm(tcp({ sourcePort: LOCAL_PORT, destinationPort: 8080 }))],
  },
  {
    rfc: 'RFC 5508, 4.2',
    name: 'an error of the target names neither target nor local address',
    send: [ask(request(5353)), fromVm(ipPacket(VM_A1, LOCAL, icmp(4, 3, 3, 0, ipPacket(LOCAL, VM_A1, requested()))))],
    verdict: 'Forward',
    out: [ipPacket(VIP, CLIENT, icmp(4, 3, 3, 0, ipPacket(CLIENT, VIP, request(5353))), 63)],
  },
  {
    rfc: 'RFC 5508, 4.2',
    name: 'an error to the VIP names the local address to the target',
    send: [
      ask(request(5353)),
      ipPacket(ROUTER, VIP, icmp(4, 3, 4, 1300, ipPacket(VIP, CLIENT, udp(95, 5353, bytes(30))))),
    ],
    verdict: 'Forward',
    out: [
      toVm(ipPacket(ROUTER, VM_A1, icmp(4, 3, 4, 1300, ipPacket(VM_A1, LOCAL, udp(8080, LOCAL_PORT, bytes(30)))), 63)),
    ],
  },
  {
    rfc: 'RFC 5382, 4.1',
    name: 'the middle of a connection makes no mapping',
    send: [ask(tcp({ destinationPort: 95, flags: 'A' }))],
    verdict: 'Drop MidFlow',
  },
];

/** An IPv4 listener whose target is IPv6: nothing here translates between families. */
const FAMILIES: Row[] = [
  {
    rfc: 'RFC 6052, 1',
    name: 'a target of another family is no target without NAT64',
    send: [ask(tcp({ destinationPort: 97 }))],
    verdict: 'Drop FamilyMismatch',
  },
  {
    rfc: 'RFC 6052, 1',
    name: 'and what it sends by itself never becomes the VIP of the other family',
    send: [fromVm6(ipPacket('fd00:100::67', CLIENT6, answer('A')))],
    verdict: 'Drop NoFlow',
  },
];

/** Two listeners with one target: the second flow of one client port cannot keep it (data-plane.md P6). */
const SHARED: Row[] = [
  {
    rfc: 'RFC 3022, 2.2',
    name: 'NAPT: the same client port to two VIP ports of one target gets a port of the pool',
    send: [ask(udp(5353, 53, bytes(4))), ask(udp(5353, 96, bytes(4)))],
    verdict: 'Forward',
    out: [toVm(asked(udp(LOCAL_PORT, 8080, bytes(4))))],
  },
  {
    rfc: 'RFC 3022, 2.2',
    name: 'and its reply finds the right VIP port',
    send: [ask(udp(5353, 53, bytes(4))), ask(udp(5353, 96, bytes(4))), fromVm(reply(udp(8080, LOCAL_PORT, bytes(6))))],
    verdict: 'Forward',
    out: [replied(udp(96, 5353, bytes(6)))],
  },
];

export const NAT_ROWS: readonly Row[] = [...BASIC, ...DESTINATION, ...FULL, ...FAMILIES, ...SHARED];

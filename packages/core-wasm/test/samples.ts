// Valid packets of every walk, for equality over the artefacts and as seeds of the fuzz test. They work in this order on one director.
import { ethernet, gre, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import {
  ANYCAST,
  CLIENT,
  CLIENT6,
  DIRECTOR_MAC,
  EIP,
  HOST1,
  HOST2,
  HOST6,
  PROBE,
  SERVER,
  SWITCH_MAC,
  T1,
  T1V6,
  VIP,
  VIP6,
  VM_A1,
  VM_A2,
} from './director-fixture.ts';
import { fragmentOf, fragmentsOf, withoutDf } from './fragments.ts';

const toVip = (port: number, flags = 'S', payload = Buffer.alloc(0), source = 40000): Buffer =>
  ipPacket(CLIENT, VIP, tcp({ sourcePort: source, destinationPort: port, flags, mss: 1460, payload }));
const tunnelled = (host: string, tunnel: string, key: number, inner: Buffer): Buffer =>
  ipPacket(host, tunnel, gre(key, inner));
const reply = (source: string, flags = 'SA'): Buffer =>
  ipPacket(source, CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags, mss: 1460 }));
const echo = { protocol: 1, bytes: Buffer.from('0800f7fd00010001', 'hex') };
const tooBig = (quoted: Buffer): { protocol: number; bytes: Buffer } => {
  const bytes = Buffer.concat([Buffer.from([3, 4, 0, 0, 0, 0, 5, 120]), quoted]);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt8(at) * 256 + (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  bytes.writeUInt16BE(~sum & 0xffff, 2);
  return { protocol: 1, bytes };
};

const datagram = ipPacket(CLIENT, VIP, udp(5353, 53, Buffer.alloc(2400, 5)));
const parts = fragmentsOf(datagram, [0, 800, 1600]);

const packets: Buffer[] = [
  ...[80, 81, 82, 90, 91, 92, 93, 94, 95, 99, 200, 4444].map((port) => toVip(port)),
  ...Array.from({ length: 8 }, (_, index) => toVip(82, 'S', Buffer.alloc(0), 50000 + index)),
  toVip(80, 'A', Buffer.from('GET / HTTP/1.1\r\n')),
  toVip(200, 'PA', Buffer.alloc(1400, 7), 41000),
  toVip(80, 'PA', Buffer.alloc(1440, 7)),
  ipPacket(CLIENT, VIP, tcp({ destinationPort: 80 }), 1),
  ipPacket(CLIENT, VIP, udp(5353, 53, Buffer.from('query'))),
  ipPacket(CLIENT, VIP, echo),
  ipPacket(CLIENT, EIP, tcp({ destinationPort: 22 })),
  ipPacket(CLIENT, EIP, echo),
  ipPacket(CLIENT6, VIP6, tcp({ destinationPort: 80, mss: 1440 })),
  tunnelled(HOST1, T1, 100, reply(VM_A1)),
  tunnelled(HOST1, T1, 100, reply(VM_A1, 'FA')),
  tunnelled(HOST2, T1, 200, reply(VM_A1)),
  tunnelled(HOST2, ANYCAST, 100, ipPacket(VM_A2, CLIENT, udp(1234, 53, Buffer.from('query')))),
  tunnelled(HOST1, T1, 100, ipPacket(VM_A1, PROBE, tcp({ sourcePort: 8080, destinationPort: 33000, flags: 'SA' }))),
  ipPacket(SERVER, T1, { protocol: 4, bytes: reply(SERVER) }),
  ipPacket(
    HOST6,
    T1V6,
    gre(100, ipPacket('fd00:100::2', CLIENT6, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' }))),
  ),
  ipPacket(
    '192.0.2.1',
    VIP,
    tooBig(ipPacket(VIP, CLIENT, tcp({ sourcePort: 80, destinationPort: 40000, flags: 'A' }))),
  ),
  tunnelled(
    HOST1,
    T1,
    100,
    ipPacket(VM_A1, CLIENT, tooBig(ipPacket(CLIENT, VM_A1, tcp({ destinationPort: 8080, flags: 'A' })))),
  ),
  ipPacket('10.255.0.1', T1, tooBig(ipPacket(T1, HOST2, gre(100, toVip(80))))),
  ipPacket('10.255.0.43', CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' })),
  tunnelled('10.99.0.1', T1, 100, reply(VM_A1)),
  tunnelled(HOST1, T1, 100, tunnelled(HOST1, T1, 100, reply(VM_A1))),
  ipPacket(CLIENT, '192.0.2.99', tcp()),
  // Fragments: too early, the first, one more, a duplicate, an overlap, a tiny one; then a packet that must be cut, and errors outbound.
  ...[1, 0, 2, 2].map((index) => parts[index] as Buffer),
  fragmentOf(datagram, 400, 800, false),
  fragmentOf(toVip(80, 'A', Buffer.alloc(64)), 0, 16, false),
  ...parts.map((part) => Buffer.from(part)).map((part) => tunnelled(HOST1, T1, 100, part)),
  ...fragmentsOf(
    ipPacket(CLIENT6, VIP6, tcp({ destinationPort: 80, flags: 'A', payload: Buffer.alloc(200, 3) })),
    [0, 104],
    5,
  ),
  ...fragmentsOf(ipPacket(CLIENT, EIP, udp(1, 2, Buffer.alloc(200, 3))), [0, 104], 5),
  withoutDf(ipPacket(CLIENT, VIP, udp(5353, 53, Buffer.alloc(1472, 9)))),
  tunnelled(HOST1, T1, 100, ipPacket(VM_A1, CLIENT, udp(8080, 5353, Buffer.from('late')), 1)),
  tunnelled(HOST2, ANYCAST, 100, ipPacket(VM_A2, CLIENT, udp(1234, 53, Buffer.from('late')), 1)),
];

/** Whole frames as they come from the switch, one of them with an 802.1Q tag. */
export const SAMPLES: readonly Buffer[] = packets
  .map((packet) => ethernet(SWITCH_MAC, DIRECTOR_MAC, packet))
  .map((frame, index) =>
    index === 0 ? Buffer.concat([frame.subarray(0, 12), Buffer.from([0x81, 0, 0, 5]), frame.subarray(12)]) : frame,
  );

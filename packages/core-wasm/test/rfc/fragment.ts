// Rows of fragments: RFC 791 and 815, 8200 4.5, 1858 and 3128 (tiny), 5722 and 8900 (overlap), 6946 (atomic), 6864 (identification).
import { gre, ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { ANYCAST, CLIENT, EIP, HOST2, VM_A2 } from '../director-fixture.ts';
import { fragmentOf, fragmentsOf, refreshIpv4 } from '../fragments.ts';
import { icmp } from '../headers.ts';
import {
  SYN6,
  ask,
  ask6,
  asked,
  asked6,
  bytes,
  fromVm,
  queried,
  query,
  replied,
  reply,
  segment,
  segmented,
  toVm,
  toVm6,
  type Row,
} from './row.ts';

const CUTS = [0, 504, 1000];
const whole = ask(query(1400));
const there = asked(queried(1400));
const parts = fragmentsOf(whole, CUTS);
const partsThere = fragmentsOf(there, CUTS).map((part) => toVm(part));
const pick = (list: readonly Buffer[], ...order: number[]): Buffer[] => order.map((index) => list[index]!);
const TOGETHER: Row[] = [
  {
    rfc: 'RFC 791, 3.2',
    name: 'the first fragment opens a flow',
    send: pick(parts, 0),
    verdict: 'Forward',
    out: pick(partsThere, 0),
  },
  {
    rfc: 'RFC 791, 3.2',
    name: 'the next one follows it',
    send: pick(parts, 0, 1),
    verdict: 'Forward',
    out: pick(partsThere, 1),
  },
  {
    rfc: 'RFC 791, 3.2',
    name: 'the last before the middle',
    send: pick(parts, 0, 2),
    verdict: 'Forward',
    out: pick(partsThere, 2),
  },
  {
    rfc: 'RFC 815, 3',
    name: 'a fragment before the first waits',
    send: pick(parts, 1),
    verdict: 'Consumed FragmentHeld',
  },
  {
    rfc: 'RFC 815, 3',
    name: 'what has waited follows the first',
    send: pick(parts, 1, 2, 0),
    verdict: 'Forward',
    out: pick(partsThere, 0, 2, 1),
  },
  { rfc: 'RFC 815, 3', name: 'a duplicate is dropped', send: pick(parts, 0, 1, 1), verdict: 'Drop FragmentDuplicate' },
  {
    rfc: 'RFC 6864, 4',
    name: 'another identification is another datagram',
    send: [parts[0]!, fragmentsOf(whole, CUTS, 78)[1]!],
    verdict: 'Consumed FragmentHeld',
  },
  {
    rfc: 'RFC 791, 3.2',
    name: 'a reply in fragments',
    send: [ask(query()), fromVm(fragmentsOf(reply(udp(8080, 5353, bytes(1400))), CUTS)[0]!)],
    verdict: 'Forward',
    out: [fragmentsOf(replied(udp(53, 5353, bytes(1400))), CUTS)[0]!],
  },
  {
    rfc: 'RFC 3022, 4.2',
    name: 'an EIP takes a later fragment without the first',
    send: [fragmentsOf(ipPacket(CLIENT, EIP, udp(1, 2, bytes(1400))), CUTS)[1]!],
    verdict: 'Forward',
    out: [
      ipPacket(ANYCAST, HOST2, gre(100, fragmentsOf(ipPacket(CLIENT, VM_A2, udp(1, 2, bytes(1400)), 63), CUTS)[1]!)),
    ],
  },
];

const whole6 = ask6(query(1400));
const parts6 = fragmentsOf(whole6, CUTS);
const there6 = fragmentsOf(asked6(queried(1400)), CUTS).map((part) => toVm6(part));
const SIX: Row[] = [
  { rfc: 'RFC 8200, 4.5', name: 'the first fragment', send: pick(parts6, 0), verdict: 'Forward', out: pick(there6, 0) },
  { rfc: 'RFC 8200, 4.5', name: 'the last one', send: pick(parts6, 0, 1, 2), verdict: 'Forward', out: pick(there6, 2) },
  {
    rfc: 'RFC 8200, 4.5',
    name: 'a length that is no multiple of eight, with more to come',
    send: [fragmentOf(whole6, 0, 507, false)],
    verdict: 'Drop FragmentBad',
  },
  {
    rfc: 'RFC 5722, 4',
    name: 'an overlap refuses the datagram',
    send: [parts6[0]!, fragmentOf(whole6, 400, 200, false)],
    verdict: 'Drop FragmentOverlap',
  },
  {
    rfc: 'RFC 5722, 4',
    name: 'and whatever comes of it later',
    send: [parts6[0]!, fragmentOf(whole6, 400, 200, false), parts6[2]!],
    verdict: 'Drop FragmentOverlap',
  },
  {
    rfc: 'RFC 6946, 4',
    name: 'an atomic fragment is a whole packet, beside fragments of the same identification',
    send: [parts6[0]!, fragmentOf(ask6(query(9)), 0, 17, true)],
    verdict: 'Forward',
    out: [toVm6(fragmentOf(asked6(queried(9)), 0, 17, true))],
  },
  {
    rfc: 'RFC 8200, 4.5',
    name: 'a TCP segment in fragments',
    send: [SYN6, ...fragmentsOf(ask6(tcp({ destinationPort: 80, flags: 'A', payload: bytes(300) })), [0, 200])],
    verdict: 'Forward',
    out: [toVm6(fragmentsOf(asked6(tcp({ destinationPort: 8080, flags: 'A', payload: bytes(300) })), [0, 200])[1]!)],
  },
];

const tcpWhole = ask(segment('S', { payload: bytes(200) }));
const REFUSED: Row[] = [
  {
    rfc: 'RFC 1858, 3',
    name: 'a first fragment of sixteen bytes of TCP',
    send: [fragmentOf(tcpWhole, 0, 16, false)],
    verdict: 'Drop FragmentTiny',
  },
  {
    rfc: 'RFC 1858, 3',
    name: 'one of twenty-four is enough',
    send: [fragmentOf(tcpWhole, 0, 24, false)],
    verdict: 'Forward',
    out: [toVm(fragmentOf(asked(segmented('S', { payload: bytes(200) })), 0, 24, false))],
  },
  {
    rfc: 'RFC 1858, 4',
    name: 'a fragment at offset one of TCP',
    send: [fragmentOf(tcpWhole, 8, 64, false)],
    verdict: 'Drop FragmentTiny',
  },
  {
    rfc: 'RFC 3128, 3',
    name: 'a fragment at offset two of TCP',
    send: [fragmentOf(tcpWhole, 16, 64, false)],
    verdict: 'Drop FragmentTiny',
  },
  {
    rfc: 'RFC 8900, 3.7',
    name: 'an overlap over IPv4 refuses the datagram',
    send: [parts[0]!, fragmentOf(whole, 400, 600, false)],
    verdict: 'Drop FragmentOverlap',
  },
  {
    rfc: 'RFC 8900, 3.7',
    name: 'and whatever comes of it later',
    send: [parts[0]!, fragmentOf(whole, 400, 600, false), parts[1]!],
    verdict: 'Drop FragmentOverlap',
  },
  {
    rfc: 'RFC 791, 3.2',
    name: 'a length that is no multiple of eight, with more to come',
    send: [fragmentOf(whole, 0, 503, false)],
    verdict: 'Drop FragmentBad',
  },
  {
    rfc: 'RFC 791, 3.2',
    name: 'an end behind 64 KiB',
    send: [raised(fragmentOf(whole, 0, 1400, true))],
    verdict: 'Drop FragmentBad',
  },
  {
    rfc: 'RFC 791, 3.2',
    name: 'a fragment without data',
    send: [fragmentOf(whole, 504, 0, false)],
    verdict: 'Drop FragmentBad',
  },
  {
    rfc: 'RFC 1122, 3.3.2',
    name: 'an echo to a VIP in fragments',
    send: [fragmentOf(ask(icmp(4, 8, 0, 1, bytes(200))), 0, 104, false)],
    verdict: 'Drop Fragment',
  },
];

/** The highest offset that the field has. */
function raised(packet: Buffer): Buffer {
  const copy = Buffer.from(packet);
  copy.writeUInt16BE(0x1fff, 6);
  return refreshIpv4(copy);
}

const long = ask(query(1472), { fragment: 0, id: 77 });
const longThere = asked(queried(1472), { fragment: 0, id: 77 });
const CUT: Row[] = [
  {
    rfc: 'RFC 791, 3.2',
    name: 'without DF the inner packet is cut to what the tunnel takes',
    send: [long],
    verdict: 'Forward',
    out: [fragmentOf(longThere, 0, 1448, false), fragmentOf(longThere, 1448, 32, true)].map((part) => toVm(part)),
  },
  {
    rfc: 'RFC 8900, 3.3',
    name: 'a packet that just fits is not cut',
    send: [ask(query(1444), { fragment: 0 })],
    verdict: 'Forward',
    out: [toVm(asked(queried(1444), { fragment: 0 }))],
  },
  {
    rfc: 'RFC 791, 3.2',
    name: 'a fragment that is too large is cut again, and stays in its place',
    send: [fragmentOf(ask(query(4000)), 0, 1480, false)],
    verdict: 'Forward',
    out: (() => {
      const all = asked(queried(4000));
      return [fragmentOf(all, 0, 1448, false), fragmentOf(all, 1448, 32, false)].map((part) => toVm(part));
    })(),
  },
  {
    rfc: 'RFC 791, 3.1',
    name: 'an option that is not copied stands in the first piece alone',
    send: [ask(query(1464), { fragment: 0, id: 77, options: Buffer.from([7, 3, 4, 0, 68, 4, 5, 0]) })],
    verdict: 'Forward',
    out: (() => {
      const options = Buffer.from([7, 3, 4, 0, 68, 4, 5, 0]);
      const all = asked(queried(1464), { fragment: 0, id: 77 });
      const first = asked({ protocol: 17, bytes: all.subarray(20, 20 + 1440) }, { fragment: 0x2000, id: 77, options });
      return [toVm(first), toVm(fragmentOf(all, 1440, 32, true))];
    })(),
  },
];

export const FRAGMENT_ROWS: readonly Row[] = [...TOGETHER, ...SIX, ...REFUSED, ...CUT];

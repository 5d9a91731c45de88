// Rows of the transport layer and its checksums: RFC 768, 8200 8.1 (UDP), 9293, 879, 6691 (TCP), 9260 (SCTP), 1071, 1141, 1624 (sums).
import { ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { CLIENT, CLIENT6, VIP6 } from '../director-fixture.ts';
import { sctp } from '../headers.ts';
import {
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
  replied,
  reply,
  segment,
  segmented,
  toVm,
  toVm6,
  type Row,
} from './row.ts';

const UDP_CHECKSUM = 26;
const UDP6_CHECKSUM = 46;
const edited = (packet: Buffer, edit: (copy: Buffer) => void): Buffer => {
  const copy = Buffer.from(packet);
  edit(copy);
  return copy;
};
/** The first of the numbers from 1 on for which the packet has this word. */
function search(make: (number: number) => Buffer, at: number, word: number): number {
  for (let number = 1; number < 65_536; number++) if (make(number).readUInt16BE(at) === word) return number;
  throw new Error(`no packet has ${word} at ${at}`);
}

const IP_CHECKSUM = 10;
const byId = (id: number): Buffer => asked(queried(), { id });
const zeroHeader = search(byId, IP_CHECKSUM, 0);
const TCP_CHECKSUM = 36;
const byNumber = (sequence: number): Buffer => asked(segmented('S', { sequence }));
const SUMS: Row[] = [
  ...[0, 0xffff, 0x8000, 0x00ff].flatMap((id) => [
    {
      rfc: 'RFC 1624, 3',
      name: `the header checksum follows the TTL and the address, identification ${id}`,
      send: [ask(query(), { id })],
      verdict: 'Forward',
      out: [toVm(asked(queried(), { id }))],
    },
  ]),
  {
    rfc: 'RFC 1624, 4',
    name: 'a header checksum that becomes zero is written as zero, not as ffff',
    send: [ask(query(), { id: zeroHeader })],
    verdict: 'Forward',
    out: [toVm(byId(zeroHeader))],
  },
  ...[0x0000, 0x0001, 0xfffe].map((word) => {
    const sequence = search(byNumber, TCP_CHECKSUM, word);
    return {
      rfc: 'RFC 1624, 3',
      name: `a TCP checksum that becomes ${word.toString(16)}`,
      send: [ask(segment('S', { sequence }))],
      verdict: 'Forward',
      out: [toVm(byNumber(sequence))],
    };
  }),
  ...[0, 1, 7, 8, 15, 16, 17, 31, 33, 255].map((length) => ({
    rfc: 'RFC 1071, 1',
    name: `${length} bytes of data, odd ones padded with zero for the sum alone`,
    send: [ask(query(length))],
    verdict: 'Forward',
    out: [toVm(asked(queried(length)))],
  })),
  {
    rfc: 'RFC 1071, 2',
    name: 'data of ones, whose sum wraps at every word',
    send: [ask(udp(5353, 53, Buffer.alloc(1400, 0xff)))],
    verdict: 'Forward',
    out: [toVm(asked(udp(5353, 8080, Buffer.alloc(1400, 0xff))))],
  },
  {
    rfc: 'RFC 1141',
    name: 'a wrong TCP checksum stays wrong by the same difference',
    isDamaged: true,
    send: [edited(ask(segment('S')), (copy) => copy.writeUInt16BE((copy.readUInt16BE(36) + 1) & 0xffff, 36))],
    verdict: 'Forward',
    out: [toVm(edited(asked(segmented('S')), (copy) => copy.writeUInt16BE((copy.readUInt16BE(36) + 1) & 0xffff, 36)))],
  },
];

const byPort = (source: number): Buffer => asked(udp(source, 8080, bytes(20)));
const zeroUdp = search(byPort, UDP_CHECKSUM, 0);
const byPort6 = (source: number): Buffer => asked6(udp(source, 8080, bytes(20)));
const zeroUdp6 = search(byPort6, UDP6_CHECKSUM, 0);
const without = (packet: Buffer): Buffer => edited(packet, (copy) => copy.writeUInt16BE(0, UDP_CHECKSUM));
const length = (packet: Buffer, value: number): Buffer => edited(packet, (copy) => copy.writeUInt16BE(value, 24));
const UDP: Row[] = [
  {
    rfc: 'RFC 768',
    name: 'no checksum stays none',
    send: [without(ask(query()))],
    verdict: 'Forward',
    out: [toVm(without(asked(queried())))],
  },
  {
    rfc: 'RFC 768',
    name: 'a checksum that becomes zero is written as ones',
    send: [ask(udp(zeroUdp, 53, bytes(20)))],
    verdict: 'Forward',
    out: [toVm(edited(byPort(zeroUdp), (copy) => copy.writeUInt16BE(0xffff, UDP_CHECKSUM)))],
  },
  {
    rfc: 'RFC 8200, 8.1',
    name: 'over IPv6 as well',
    send: [ask6(udp(zeroUdp6, 53, bytes(20)))],
    verdict: 'Forward',
    out: [toVm6(edited(byPort6(zeroUdp6), (copy) => copy.writeUInt16BE(0xffff, UDP6_CHECKSUM)))],
  },
  {
    rfc: 'RFC 8200, 8.1',
    name: 'no checksum over IPv6 is refused',
    send: [edited(ask6(query()), (copy) => copy.writeUInt16BE(0, UDP6_CHECKSUM))],
    verdict: 'Drop ZeroChecksum',
  },
  {
    rfc: 'RFC 768',
    name: 'a length below the header is refused',
    send: [length(ask(query()), 7)],
    verdict: 'Drop TooShort',
  },
  { rfc: 'RFC 768', name: 'a length of zero is refused', send: [length(ask(query()), 0)], verdict: 'Drop TooShort' },
  {
    rfc: 'RFC 768',
    name: 'a length beyond the packet is refused',
    send: [length(ask(query()), 29)],
    verdict: 'Drop TooShort',
  },
  {
    rfc: 'RFC 768',
    name: 'seven bytes are no header',
    send: [ask({ protocol: 17, bytes: bytes(7) })],
    verdict: 'Drop TooShort',
  },
  {
    rfc: 'RFC 768',
    name: 'a datagram without data',
    send: [ask(query(0))],
    verdict: 'Forward',
    out: [toVm(asked(queried(0)))],
  },
];

const offset = (words: number): Buffer => edited(ask(segment('S')), (copy) => copy.writeUInt8(words << 4, 32));
/** A SYN whose MSS option stands behind so many bytes of no operation. */
const mssAt = (pad: number, mss: number, destinationPort: number) => {
  const options = Buffer.concat([
    Buffer.alloc(pad, 1),
    Buffer.from([2, 4, mss >> 8, mss & 255]),
    Buffer.alloc(4 - (pad & 3), 1),
  ]);
  const plain = tcp({ destinationPort });
  const all = Buffer.concat([plain.bytes, options]);
  all.writeUInt8((all.length / 4) << 4, 12);
  return { ...plain, bytes: all };
};
const raw = (options: number[], destinationPort: number) => {
  const plain = tcp({ destinationPort });
  const all = Buffer.concat([plain.bytes, Buffer.from(options)]);
  all.writeUInt8((all.length / 4) << 4, 12);
  return { ...plain, bytes: all };
};
const asIs = (rfc: string, name: string, options: number[]): Row => ({
  rfc,
  name,
  send: [ask(raw(options, 80))],
  verdict: 'Forward',
  out: [toVm(asked(raw(options, 8080)))],
});
const TCP: Row[] = [
  ...[0, 4, 15].map((words) => ({
    rfc: 'RFC 9293, 3.1',
    name: `a data offset of ${words} words is refused`,
    send: [offset(words)],
    verdict: 'Drop BadTcp',
  })),
  {
    rfc: 'RFC 9293, 3.1',
    name: 'nineteen bytes are no header',
    send: [ask({ protocol: 6, bytes: segment('S').bytes.subarray(0, 19) })],
    verdict: 'Drop BadTcp',
  },
  asIs('RFC 9293, 3.2', 'unknown options pass as they are', [253, 8, 1, 2, 3, 4, 5, 6]),
  asIs('RFC 9293, 3.2', 'an option that runs past the header passes as it is', [1, 1, 2, 40]),
  asIs('RFC 9293, 3.2', 'an option of length zero passes as it is', [3, 0, 2, 4]),
  asIs('RFC 9293, 3.2', 'an MSS option of another length is none', [2, 3, 5, 1]),
  asIs('RFC 9293, 3.2', 'nothing is read behind the end of the list', [0, 0, 2, 4, 255, 255, 0, 0]),
  ...[1432, 1460, 8960, 65_535].map((mss) => ({
    rfc: 'RFC 6691, 2',
    name: `an MSS of ${mss} becomes what fits the tunnel`,
    send: [ask(segment('S', { mss }))],
    verdict: 'Forward',
    out: [toVm(asked(segmented('S', { mss: 1432 })))],
  })),
  ...[0, 1, 536, 1431].map((mss) => ({
    rfc: 'RFC 879, 3',
    name: `an MSS of ${mss} stays`,
    send: [ask(segment('S', { mss }))],
    verdict: 'Forward',
    out: [toVm(asked(segmented('S', { mss })))],
  })),
  {
    rfc: 'RFC 879, 1',
    name: 'no MSS option stays none: 536 is what that means',
    send: [SYN],
    verdict: 'Forward',
    out: [toVm(asked(segmented('S')))],
  },
  ...[0, 1, 2, 3, 4, 5].map((pad) => ({
    rfc: 'RFC 6691, 2',
    name: `an MSS option behind ${pad} bytes of others`,
    send: [ask(mssAt(pad, 1460, 80))],
    verdict: 'Forward',
    out: [toVm(asked(mssAt(pad, 1432, 8080)))],
  })),
  {
    rfc: 'RFC 6691, 2',
    name: 'the SYN/ACK is lowered for the way in',
    send: [SYN, fromVm(reply(answer('SA', { mss: 1460 })))],
    verdict: 'Forward',
    out: [replied(answered('SA', { mss: 1432 }))],
  },
  {
    rfc: 'RFC 6691, 2',
    name: 'over IPv6 the headers take twenty bytes more, inside and out',
    send: [ask6(tcp({ destinationPort: 80, mss: 1440 }))],
    verdict: 'Forward',
    out: [toVm6(asked6(tcp({ destinationPort: 8080, mss: 1392 })))],
  },
  {
    rfc: 'RFC 6691, 2',
    name: 'the SYN/ACK over IPv6',
    send: [SYN6, fromVm6(ipPacket(VM6, CLIENT6, answer('SA', { mss: 1440 })))],
    verdict: 'Forward',
    out: [ipPacket(VIP6, CLIENT6, answered('SA', { mss: 1392 }), 63)],
  },
  {
    rfc: 'RFC 9293, 3.7.1',
    name: 'an MSS option outside a SYN means nothing and stays',
    send: [SYN, ask(segment('A', { mss: 1460 }))],
    verdict: 'Forward',
    out: [toVm(asked(segmented('A', { mss: 1460 })))],
  },
  {
    rfc: 'RFC 7323, 3.2',
    name: 'timestamps pass as they are',
    send: [SYN, ask(segment('A', { timestamp: 77, payload: bytes(9) }))],
    verdict: 'Forward',
    out: [toVm(asked(segmented('A', { timestamp: 77, payload: bytes(9) })))],
  },
  {
    rfc: 'RFC 3168, 6.1',
    name: 'the flags of congestion control pass as they are',
    send: [ask(segment('SEC'))],
    verdict: 'Forward',
    out: [toVm(asked(segmented('SEC')))],
  },
];

const SCTP: Row[] = [
  {
    rfc: 'RFC 9260, 6.8',
    name: 'INIT opens an association, its CRC follows the ports',
    send: [ask(sctp(5000, 36, 1))],
    verdict: 'Forward',
    out: [toVm(asked(sctp(5000, 8080, 1)))],
  },
  {
    rfc: 'RFC 9260, 6.8',
    name: 'INIT ACK goes back',
    send: [ask(sctp(5000, 36, 1)), fromVm(reply(sctp(8080, 5000, 2)))],
    verdict: 'Forward',
    out: [replied(sctp(36, 5000, 2))],
  },
  {
    rfc: 'RFC 9260, 6.8',
    name: 'a wrong CRC stays wrong: the receiver refuses it',
    isDamaged: true,
    send: [ask(damaged(sctp(5000, 36, 1)))],
    verdict: 'Forward',
    out: [toVm(asked(damaged(sctp(5000, 8080, 1))))],
  },
  {
    rfc: 'RFC 9260, 3.1',
    name: 'eleven bytes are no common header',
    send: [ask({ protocol: 132, bytes: bytes(11) })],
    verdict: 'Drop TooShort',
  },
];

/** CRC is linear: the error of the packet that came stays in the one that leaves. */
function damaged(payload: { protocol: number; bytes: Buffer }): { protocol: number; bytes: Buffer } {
  const copy = Buffer.from(payload.bytes);
  copy.writeUInt8(copy.readUInt8(8) ^ 0x40, 8);
  return { ...payload, bytes: copy };
}

export const TRANSPORT_ROWS: readonly Row[] = [
  ...SUMS,
  ...UDP,
  ...TCP,
  ...SCTP,
  {
    rfc: 'RFC 9293, 3.10.7',
    name: 'a RST for no flow makes none',
    send: [ipPacket(CLIENT, '203.0.113.10', segment('R'))],
    verdict: 'Drop MidFlow',
  },
];

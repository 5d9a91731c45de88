// A DNS server of the tests on loopback, UDP and TCP on one port. It writes messages by itself, with name compression.
import dgram from 'node:dgram';
import net from 'node:net';
import { onTestFinished } from 'vitest';

export interface Zone {
  /** `A orders.test` → texts of records: addresses, names, or `priority weight port host`. */
  readonly records: Map<string, string[]>;
  ttl: number;
  /** UDP answers are cut off, so that TCP has to be asked. */
  isTruncated: boolean;
  /** 2: SERVFAIL for everything. */
  code: number;
  readonly questions: string[];
}

const TYPES = new Map([
  [1, 'A'],
  [5, 'CNAME'],
  [28, 'AAAA'],
  [33, 'SRV'],
]);

const nameBytes = (name: string): Buffer =>
  Buffer.concat([
    ...name.split('.').flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]),
    Buffer.from([0]),
  ]);

function dataOf(type: string, text: string): Buffer {
  if (type === 'A') return Buffer.from(text.split('.').map(Number));
  if (type === 'CNAME') return nameBytes(text);
  if (type === 'AAAA') {
    const bytes = Buffer.alloc(16);
    text.split(':').forEach((group, index) => bytes.writeUInt16BE(Number.parseInt(group || '0', 16), index * 2));
    return bytes;
  }
  const [priority, weight, port, host] = text.split(' ');
  const numbers = Buffer.alloc(6);
  [priority, weight, port].forEach((value, index) => numbers.writeUInt16BE(Number(value), index * 2));
  return Buffer.concat([numbers, nameBytes(host!)]);
}

function answer(zone: Zone, question: Buffer, overTcp: boolean): Buffer {
  const labels: string[] = [];
  let at = 12;
  for (let length = question[at]!; length > 0; length = question[at]!) {
    labels.push(question.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const type = TYPES.get(question.readUInt16BE(at + 1)) ?? '';
  const name = labels.join('.');
  zone.questions.push(`${type} ${name}${overTcp ? ' tcp' : ''}`);
  const cut = zone.isTruncated && !overTcp;
  const rows: Buffer[] = [];
  const add = (owner: Buffer, kind: string, text: string): void => {
    const data = dataOf(kind, text);
    const head = Buffer.alloc(10);
    head.writeUInt16BE([...TYPES].find(([, word]) => word === kind)![0], 0);
    head.writeUInt16BE(1, 2);
    head.writeUInt32BE(zone.ttl, 4);
    head.writeUInt16BE(data.length, 8);
    rows.push(Buffer.concat([owner, head, data]));
  };
  const [alias] = zone.records.get(`CNAME ${name}`) ?? [];
  const pointer = Buffer.from([0xc0, 12]);
  if (alias !== undefined) add(pointer, 'CNAME', alias);
  const found = zone.records.get(`${type} ${alias ?? name}`) ?? [];
  for (const text of found) add(alias === undefined ? pointer : nameBytes(alias), type, text);
  const header = Buffer.alloc(12);
  question.copy(header, 0, 0, 2);
  header.writeUInt16BE(0x8180 | (cut ? 0x200 : 0) | zone.code, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(cut ? 0 : rows.length, 6);
  return Buffer.concat([header, question.subarray(12, at + 5), ...(cut ? [] : rows)]);
}

export async function dnsServer(records: Record<string, string[]>): Promise<{ zone: Zone; server: string }> {
  const zone: Zone = { records: new Map(Object.entries(records)), ttl: 60, isTruncated: false, code: 0, questions: [] };
  const tcp = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (bytes: Buffer) => {
      const message = answer(zone, bytes.subarray(2), true);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(message.length);
      socket.write(length);
      socket.end(message);
    });
  });
  await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve));
  const { port } = tcp.address() as net.AddressInfo;
  const udp = dgram.createSocket('udp4');
  udp.on('message', (bytes, peer) => udp.send(answer(zone, bytes, false), peer.port, peer.address));
  await new Promise<void>((resolve) => udp.bind(port, '127.0.0.1', resolve));
  onTestFinished(() => {
    tcp.close();
    udp.close();
  });
  return { zone, server: `127.0.0.1:${port}` };
}

// TCP and SCTP as a library: a handshake by cookie over two days of the clock, numbers there and back, options and headers put in.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { segment } from '../test/meters-fixture.ts';
import { addressBytes, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import { parseIp } from '../../../tools/testkit/parse.ts';
import { type ProvenHandshake, PacketError, cookieKeys, createSctp, createTcp } from './index.ts';

const SECRET = new Uint8Array(32).fill(7);
const NOW = 1_790_000_000_000;
const CLIENT = '198.51.100.1';
const VIP = '203.0.113.10';
const LINUX = '020405b40402080a000030390000000001030308';
const read = (packet: Uint8Array): ReturnType<typeof parseIp> =>
  parseIp(Buffer.from(packet), (packet[0] ?? 0) >> 4 === 4 ? 0x0800 : 0x86dd);
const at = (packet: Uint8Array, offset: number): number => Buffer.from(packet).readUInt32BE(offset);

test('a handshake by cookie: another director proves it, 64 seconds later too, five minutes later not', async () => {
  const here = await createTcp();
  const there = await createTcp();
  const syn = ipPacket(CLIENT, VIP, segment(LINUX, { sequence: 5000 }));
  const synAck = here.synAck(syn, { keys: await cookieKeys(SECRET, NOW), mss: 1440, nowMs: NOW })!;
  const offered = here.readOptions(synAck);
  expect(offered).toMatchObject({
    mss: 1440,
    scale: 7,
    sackPermitted: true,
    timestamps: { echo: 12345 },
    isMalformed: false,
  });
  const echo = offered.timestamps!.value.toString(16).padStart(8, '0');
  const data = ipPacket(
    CLIENT,
    VIP,
    segment(`0101080a00003040${echo}`, {
      flags: 'PA',
      sequence: 5001,
      acknowledgement: (at(synAck, 24) + 1) >>> 0,
      payload: Buffer.from('GET'),
    }),
  );
  for (const later of [-60_000, 0, 64_000]) {
    const proven = there.checkCookie(data, { keys: await cookieKeys(SECRET, NOW + later) }) as ProvenHandshake;
    expect(proven).toMatchObject({
      client: { address: CLIENT, port: 40000 },
      vip: { address: VIP, port: 80 },
      clientSequence: 5000,
      ourSequence: at(synAck, 24),
      mss: 1460,
      scale: 8,
      sackPermitted: true,
      timestamps: { value: 0x3040, echo: offered.timestamps!.value },
    });
    expect(read(proven.syn)).toMatchObject({ source: CLIENT, tcp: { flags: 'S', mss: 1460, isChecksumValid: true } });
    expect(here.readOptions(proven.syn)).toMatchObject({ scale: 8, sackPermitted: true });
  }
  expect(there.checkCookie(data, { keys: await cookieKeys(SECRET, NOW + 300_000) })).toMatch(/Forged|Aged/);
  expect(there.checkCookie(data, { keys: await cookieKeys(new Uint8Array(32), NOW) })).toBe('Forged');
  expect(there.checkCookie(data, { keys: await cookieKeys(SECRET, NOW), net: 9 })).toBe('Forged');
  expect(there.checkCookie(syn, { keys: await cookieKeys(SECRET, NOW) })).toBe('NoAck');
  expect(here.synAck(data, { keys: await cookieKeys(SECRET, NOW), mss: 1440, nowMs: NOW })).toBeUndefined();
});

test('translated and back, with SACK blocks, is the identity', async () => {
  const tools = await createTcp();
  const packet = ipPacket(
    CLIENT,
    VIP,
    segment('0101080a00000010000000200101050a0000000a00000014', { flags: 'A', sequence: 1, acknowledgement: 2 }),
  );
  const there = tools.translate(packet, { sequence: -5, acknowledgment: 0xffffffff, tsval: 1, tsecr: -1 });
  expect(tools.readOptions(there)).toMatchObject({ timestamps: { value: 0x11, echo: 0x1f }, sack: [[9, 19]] });
  expect(tools.translate(there, { sequence: 5, acknowledgment: 1, tsval: -1, tsecr: 1 })).toEqual(
    Uint8Array.from(packet),
  );
  expect(() => tools.translate(packet, { windowShift: 15 })).toThrow(RangeError);
});

test('TOA goes in and comes out; PROXY headers go in front of data', async () => {
  const tools = await createTcp();
  const packet = ipPacket(CLIENT, VIP, tcp({ flags: 'A', payload: Buffer.from('GET') }));
  const marked = tools.insertToa(packet, { address: '192.0.2.1', port: 1234, kind: 200 })!;
  expect(Buffer.from(marked.subarray(40, 48)).toString('hex')).toBe('c80804d2c0000201');
  expect(tools.stripToa(marked)).toMatchObject({ stripped: 1 });
  expect(tools.stripToa(packet)).toEqual({ packet: Uint8Array.from(packet), stripped: 0 });
  expect(tools.insertToa(packet, { address: '2001:db8::1', port: 1, kind: 200 })).toBeUndefined();
  expect(tools.insertToa(packet, { address: '2001:db8::1', port: 1, limit: 60 })).toBeUndefined();
  const ends = { source: '192.0.2.1', destination: VIP, sourcePort: 1234, destinationPort: 80 };
  const header = Buffer.from(tools.proxyHeader('tcp', ends));
  expect(read(tools.insertProxyHeader(packet, ends)!)?.tcp?.payload).toEqual(
    Buffer.concat([header, Buffer.from('GET')]),
  );
  const datagram = tools.insertProxyHeader(ipPacket(CLIENT, VIP, udp(1, 2, Buffer.from('x'))), ends)!;
  expect(read(datagram)?.udp).toMatchObject({
    isChecksumValid: true,
    payload: Buffer.concat([Buffer.from(tools.proxyHeader('udp', ends)), Buffer.from('x')]),
  });
  expect(tools.insertProxyHeader(packet, ends, 70)).toBeUndefined();
  expect(() => tools.proxyHeader('tcp', { ...ends, source: '2001:db8::1' })).toThrow(RangeError);
});

test('what is no whole TCP segment is refused at every cut', async () => {
  const tools = await createTcp();
  const packet = ipPacket(CLIENT, VIP, segment(LINUX));
  for (let length = 0; length < packet.length; length++)
    expect(() => tools.readOptions(packet.subarray(0, length))).toThrow(PacketError);
  expect(() => tools.readOptions(new Uint8Array(70_000))).toThrow(RangeError);
  expect(() => tools.readOptions(ipPacket(CLIENT, VIP, udp(1, 2, Buffer.alloc(40))))).toThrow(/^Protocol/);
});

test('SCTP: check values, other ports, and a damaged packet that stays damaged', async () => {
  const tools = await createSctp();
  expect(tools.crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  const bytes = Buffer.concat([Buffer.from('9c401388000000000000000001000014', 'hex'), Buffer.alloc(16)]);
  bytes.writeUInt32LE(tools.crc32c(bytes), 8);
  for (const [from, to] of [
    [CLIENT, VIP],
    ['2001:db8::1', '2001:db8::2'],
  ] as const) {
    const packet = ipPacket(from, to, { protocol: 132, bytes });
    expect([tools.isChecksumValid(packet), tools.isInit(packet)]).toEqual([true, true]);
    const other = tools.rewritePorts(packet, { destination: 9 });
    expect(tools.isChecksumValid(other)).toBe(true);
    expect(Buffer.from(other).readUInt32BE(packet.length - 32)).toBe(0x9c400009);
    other[other.length - 1]! ^= 1;
    expect(tools.isChecksumValid(tools.rewritePorts(other, { source: 1 }))).toBe(false);
  }
  expect(() => tools.isInit(addressBytes('::1'))).toThrow(PacketError);
});

test('the functions never allocate and never grow their memory', () => {
  const text = readFileSync(new URL('../dist/tcp.wat', import.meta.url), 'utf8');
  expect(text).toContain('$assembly/tcp/entry/makeSynAckOne');
  expect(['~lib/rt/stub/__new', '~lib/rt/stub/__alloc', 'memory.grow'].filter((no) => text.includes(no))).toEqual([]);
});

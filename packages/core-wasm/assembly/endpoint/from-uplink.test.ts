// Frames from the underlay: who may tunnel to this host, what is delivered where, and what is dropped for which reason (P7.2, P38, P39).
import { expect, test } from 'vitest';
import { gre, ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { destinationIs, expectIpv4, expectIpv6, portsAre, sourceIs, ttlIs } from '../../../../tools/testkit/expect.ts';
import { parseFrame } from '../../../../tools/testkit/parse.ts';
import {
  CLIENT,
  GATEWAY_MAC,
  HOST1,
  HOST2,
  PROXY1,
  T1,
  VM_A1,
  VM_B1,
  bytes16,
  endpoint,
  fromUnderlay,
} from '../../test/endpoint-fixture.ts';

const request = (source = CLIENT, flags = 'A'): Buffer =>
  ipPacket(source, '10.0.0.2', tcp({ sourcePort: 40000, destinationPort: 8080, flags }), 63);
const tunnelled = (outer: string, key: number, inner: Buffer): Buffer =>
  fromUnderlay(ipPacket(outer, HOST1, gre(key, inner)));

test('a packet from a director reaches the VM from the gateway, whole and unchanged', async () => {
  const { send } = await endpoint();
  const out = send(0, tunnelled(T1, 100, request()));
  expect(out).toMatchObject({ verdict: 'Forward', portOut: VM_A1.port });
  expect(parseFrame(out.frame)).toMatchObject({ sourceMac: GATEWAY_MAC, destinationMac: VM_A1.mac, etherType: 0x0800 });
  expect(out.frame.subarray(14).equals(request())).toBe(true);
  expectIpv4(out.frame, sourceIs(CLIENT), destinationIs('10.0.0.2'), portsAre(40000, 8080), ttlIs(63));
});

test('the key tells two VMs of one address apart', async () => {
  const { send } = await endpoint();
  expect(send(0, tunnelled(T1, 100, request())).portOut).toBe(VM_A1.port);
  expect(send(0, tunnelled(T1, 200, request())).portOut).toBe(VM_B1.port);
  expect(send(0, tunnelled(T1, 300, request()))).toMatchObject({ verdict: 'Drop', reason: 'UnknownVm' });
});

test('a tunnel from a stranger is refused, whatever it carries', async () => {
  const { send } = await endpoint();
  expect(send(0, tunnelled('192.0.2.66', 100, request()))).toMatchObject({
    verdict: 'Drop',
    reason: 'UntrustedTunnel',
  });
});

test('a host may only bring packets of VMs that live on it; a proxy only those of its service addresses', async () => {
  const { send } = await endpoint();
  expect(send(0, tunnelled(HOST2, 100, request('10.0.0.3'))).verdict).toBe('Forward');
  expect(send(0, tunnelled(HOST2, 100, request('10.0.0.4')))).toMatchObject({ reason: 'SourceElsewhere' });
  expect(send(0, tunnelled(HOST2, 200, request('10.0.0.3')))).toMatchObject({ reason: 'SourceElsewhere' });
  expect(send(0, tunnelled(HOST2, 100, request(CLIENT)))).toMatchObject({ reason: 'SourceElsewhere' });
  expect(send(0, tunnelled(PROXY1, 100, request('100.112.0.5'))).verdict).toBe('Forward');
});

test('a tunnel that ends elsewhere and a packet without tunnel stay with the kernel', async () => {
  const { send } = await endpoint();
  expect(send(0, fromUnderlay(ipPacket(T1, HOST2, gre(100, request()))))).toMatchObject({
    verdict: 'Consumed',
    reason: 'KernelOnly',
  });
  expect(send(0, fromUnderlay(ipPacket(T1, HOST1, tcp({ destinationPort: 22 }))))).toMatchObject({
    reason: 'KernelOnly',
  });
});

test('IPv6 travels inside IPv4 and IPv4 inside IPv6', async () => {
  const { send } = await endpoint();
  const inner6 = ipPacket('2001:db8:c::1', 'fd00::2', udp(1000, 53, Buffer.from('x')));
  expectIpv6(send(0, tunnelled(T1, 100, inner6)).frame, destinationIs('fd00::2'));
  const outer6 = fromUnderlay(ipPacket('2001:db8:fe::1', '2001:db8:ff::11', gre(100, request())));
  expectIpv4(send(0, outer6).frame, destinationIs('10.0.0.2'));
});

test('a GRE header that promises another protocol than it carries is refused', async () => {
  const { send } = await endpoint();
  const lie = gre(100, request());
  lie.bytes.writeUInt16BE(0x86dd, 2);
  expect(send(0, fromUnderlay(ipPacket(T1, HOST1, lie)))).toMatchObject({ verdict: 'Drop', reason: 'BadTunnel' });
});

test('GRE with a checksum, and a key of the directors among themselves, are refused', async () => {
  const { send } = await endpoint();
  const summed = gre(100, request());
  summed.bytes.writeUInt16BE(0xa000, 0);
  expect(send(0, fromUnderlay(ipPacket(T1, HOST1, summed)))).toMatchObject({ reason: 'BadTunnel' });
  expect(send(0, tunnelled(T1, 0xffffff01, request()))).toMatchObject({ reason: 'BadTunnel' });
});

test('congestion that the tunnel met reaches the inner packet, or the packet dies (RFC 6040)', async () => {
  const { send } = await endpoint();
  const marked = (inner: number, outer: number): Buffer => {
    const packet = request();
    const withMark = (bytes: Buffer, mark: number): Buffer => {
      bytes.writeUInt8(mark, 1);
      bytes.writeUInt16BE(0, 10);
      let sum = 0;
      for (let at = 0; at < 20; at += 2) sum += bytes.readUInt16BE(at);
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
      bytes.writeUInt16BE(~sum & 0xffff, 10);
      return bytes;
    };
    return fromUnderlay(withMark(ipPacket(T1, HOST1, gre(100, withMark(packet, inner))), outer));
  };
  const ecnAfter = (inner: number, outer: number): number => {
    const out = send(0, marked(inner, outer));
    expectIpv4(out.frame);
    return out.frame.readUInt8(15) & 3;
  };
  expect(ecnAfter(2, 3)).toBe(3);
  expect(ecnAfter(2, 1)).toBe(1);
  expect(ecnAfter(1, 0)).toBe(1);
  expect(ecnAfter(0, 2)).toBe(0);
  expect(send(0, marked(0, 3))).toMatchObject({ verdict: 'Drop', reason: 'Congestion' });
});

test('the segment size of a SYN is lowered to what the tunnel takes, and the checksum stays right', async () => {
  const { send } = await endpoint({ uplinkMtu: 1500 });
  const syn = ipPacket(CLIENT, '10.0.0.2', tcp({ destinationPort: 8080, flags: 'S', mss: 1460 }));
  const out = expectIpv4(send(0, tunnelled(T1, 100, syn)).frame);
  expect(out.tcp?.mss).toBe(1500 - 28 - 40);
});

test('before the first image nothing is forwarded', async () => {
  const { send } = await endpoint({ withoutImage: true });
  expect(send(0, tunnelled(T1, 100, request()))).toMatchObject({ verdict: 'Drop', reason: 'NoImage' });
});

test('a frame cut at any length gets a verdict and never a wrong delivery', async () => {
  const { send } = await endpoint();
  const whole = tunnelled(T1, 100, request());
  for (let length = 0; length < whole.length; length++) {
    expect(['Drop', 'Consumed']).toContain(send(0, whole.subarray(0, length)).verdict);
  }
});

test('packets for a VIP of this proxy and for this server enter the inside device', async () => {
  const { send } = await endpoint({
    entries: [
      { kind: 'LocalVip', address: bytes16('203.0.113.10') },
      { kind: 'Physical', address: bytes16(HOST1) },
      { kind: 'Source', address: bytes16('100.112.0.5'), link: 100 },
    ],
    tables: { inside: { port: 4, mac: new Uint8Array(6) } },
  });
  const toVip = ipPacket(CLIENT, '203.0.113.10', tcp());
  const vip = send(0, tunnelled(T1, 0, toVip));
  expect(vip).toMatchObject({ verdict: 'Forward', portOut: 4 });
  expect(vip.frame.equals(toVip)).toBe(true);
  const toServer = ipPacket(CLIENT, HOST1, tcp());
  const server = send(0, fromUnderlay(ipPacket(T1, HOST1, { protocol: 4, bytes: toServer })));
  expect(server).toMatchObject({ verdict: 'Forward', portOut: 4 });
  const reply = ipPacket('10.0.0.3', '100.112.0.5', tcp({ flags: 'SA' }));
  expect(send(0, tunnelled(HOST2, 100, reply))).toMatchObject({ verdict: 'Forward', portOut: 4 });
  expect(send(0, tunnelled(HOST2, 200, reply))).toMatchObject({ verdict: 'Drop', reason: 'UnknownNet' });
  expect(send(0, tunnelled(HOST2, 0, toVip))).toMatchObject({ verdict: 'Drop', reason: 'SourceElsewhere' });
});

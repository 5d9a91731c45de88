// The gateway's answers to ARP and neighbour solicitations, and the questions that it must never answer (P7.3).
import { expect, test } from 'vitest';
import { ipPacket } from '../../../../tools/testkit/build.ts';
import { expectIpv6 } from '../../../../tools/testkit/expect.ts';
import { GATEWAY_MAC, VM_A1, VM_A3, bytes16, endpoint, fromVm, mac } from '../../test/endpoint-fixture.ts';

const arp = (operation: number, senderMac: string, sender: string, target: string): Buffer => {
  const packet = Buffer.alloc(28);
  packet.write('000108000604', 'hex');
  packet.writeUInt16BE(operation, 6);
  packet.set(mac(senderMac), 8);
  packet.set(bytes16(sender).subarray(12), 14);
  packet.set(bytes16(target).subarray(12), 24);
  const header = Buffer.concat([Buffer.alloc(6, 0xff), mac(senderMac), Buffer.from('0806', 'hex')]);
  return Buffer.concat([header, packet, Buffer.alloc(18)]);
};

const solicit = (source: string, target: string, hopLimit = 255): Buffer => {
  const bytes = Buffer.concat([
    Buffer.from('8700000000000000', 'hex'),
    bytes16(target),
    Buffer.from([1, 1]),
    mac(VM_A1.mac),
  ]);
  const packet = ipPacket(source, 'ff02::1:ff00:3', { protocol: 58, bytes, checksumAt: 2 }, hopLimit);
  const frame = fromVm(VM_A1, packet);
  frame.write('3333ff000003', 'hex');
  return frame;
};

test('ARP for any address but the own one is answered with the link address of the gateway', async () => {
  const { send } = await endpoint();
  for (const asked of ['10.0.0.1', '10.0.0.3', '10.0.0.4', '192.0.2.1']) {
    const out = send(VM_A1.port, arp(1, VM_A1.mac, VM_A1.address, asked));
    expect(out).toMatchObject({ verdict: 'Forward', portOut: VM_A1.port });
    expect(out.frame.length).toBe(42);
    const expected = Buffer.concat([
      mac(VM_A1.mac),
      mac(GATEWAY_MAC),
      Buffer.from('08060001080006040002', 'hex'),
      mac(GATEWAY_MAC),
      bytes16(asked).subarray(12),
      mac(VM_A1.mac),
      bytes16(VM_A1.address).subarray(12),
    ]);
    expect(out.frame.toString('hex')).toBe(expected.toString('hex'));
  }
});

test('probes, announcements, replies and questions for the own address get no answer', async () => {
  const { send } = await endpoint();
  const silent = [
    arp(1, VM_A1.mac, '0.0.0.0', '10.0.0.2'),
    arp(1, VM_A1.mac, '0.0.0.0', '10.0.0.3'),
    arp(1, VM_A1.mac, '10.0.0.2', '10.0.0.2'),
    arp(2, VM_A1.mac, '10.0.0.2', '10.0.0.1'),
  ];
  for (const frame of silent)
    expect(send(VM_A1.port, frame)).toMatchObject({ verdict: 'Consumed', reason: 'KernelOnly' });
  expect(send(VM_A1.port, arp(1, VM_A1.mac, '10.0.0.4', '10.0.0.1'))).toMatchObject({ reason: 'SpoofedSource' });
  expect(send(VM_A1.port, arp(1, VM_A3.mac, '10.0.0.2', '10.0.0.1'))).toMatchObject({ reason: 'SpoofedSource' });
});

test('a neighbour solicitation is answered by an advertisement that a kernel accepts', async () => {
  const { send } = await endpoint();
  for (const [source, target] of [
    ['fd00::2', 'fd00::1'],
    ['fe80::a8', 'fe80::1'],
    ['fd00::2', 'fe80::1'],
  ] as const) {
    const out = send(VM_A1.port, solicit(source, target));
    expect(out).toMatchObject({ verdict: 'Forward', portOut: VM_A1.port });
    const ip = expectIpv6(out.frame);
    expect(ip).toMatchObject({ source: target, destination: source, ttl: 255, icmp: { type: 136, code: 0 } });
    expect(out.frame.length).toBe(14 + 40 + 32);
    expect(out.frame.subarray(0, 12).toString('hex')).toBe(
      Buffer.concat([mac(VM_A1.mac), mac(GATEWAY_MAC)]).toString('hex'),
    );
    expect(out.frame.readUInt8(58)).toBe(0xe0);
    expect(out.frame.subarray(62, 78).equals(bytes16(target))).toBe(true);
    expect(out.frame.subarray(78).toString('hex')).toBe(`0201${Buffer.from(mac(GATEWAY_MAC)).toString('hex')}`);
  }
});

test('duplicate address detection, the own address and a solicitation from afar get no answer', async () => {
  const { send } = await endpoint();
  expect(send(VM_A1.port, solicit('::', 'fd00::2'))).toMatchObject({ verdict: 'Consumed' });
  expect(send(VM_A1.port, solicit('::', 'fd00::3'))).toMatchObject({ verdict: 'Consumed' });
  expect(send(VM_A1.port, solicit('fd00::2', 'fd00::2'))).toMatchObject({ verdict: 'Consumed' });
  expect(send(VM_A1.port, solicit('fd00::2', 'fd00::3', 254))).toMatchObject({ verdict: 'Drop', reason: 'BadHeader' });
  expect(send(VM_A1.port, solicit('fd00::4', 'fd00::3'))).toMatchObject({ verdict: 'Drop', reason: 'SpoofedSource' });
});

test('multicast of a VM is absorbed', async () => {
  const { send } = await endpoint();
  const rs = ipPacket(
    'fe80::a8',
    'ff02::2',
    { protocol: 58, bytes: Buffer.from('8500000000000000', 'hex'), checksumAt: 2 },
    255,
  );
  expect(send(VM_A1.port, fromVm(VM_A1, rs))).toMatchObject({ verdict: 'Consumed' });
});

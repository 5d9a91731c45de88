// Packets that no tunnel takes (P14): the sender learns the size that fits; what must not be answered is dropped.
import { expect, test } from 'vitest';
import { ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { expectIpv4, expectIpv6 } from '../../../../tools/testkit/expect.ts';
import { GATEWAY_MAC, VM_A1, bytes16, endpoint, fromVm, icmpv4 } from '../../test/endpoint-fixture.ts';
import { HOST2 } from '../../test/endpoint-fixture.ts';

const big = (source: string, destination: string, bytes: number): Buffer => {
  const header = source.includes(':') ? 48 : 28;
  return ipPacket(source, destination, udp(1, 2, Buffer.alloc(bytes - header)));
};

test('the largest packet that fits goes out, one byte more is answered with fragmentation needed', async () => {
  const { send } = await endpoint({ uplinkMtu: 1500 });
  expect(send(VM_A1.port, fromVm(VM_A1, big('10.0.0.2', '10.0.0.3', 1472)))).toMatchObject({
    verdict: 'Forward',
    portOut: 0,
  });
  const packet = big('10.0.0.2', '10.0.0.3', 1473);
  const out = send(VM_A1.port, fromVm(VM_A1, packet));
  expect(out).toMatchObject({ verdict: 'Forward', portOut: VM_A1.port });
  expect(out.frame.subarray(6, 12).toString('hex')).toBe(GATEWAY_MAC.replaceAll(':', ''));
  const error = expectIpv4(out.frame);
  expect(error).toMatchObject({
    source: '169.254.1.1',
    destination: '10.0.0.2',
    totalLength: 576,
    icmp: { type: 3, code: 4 },
  });
  expect(out.frame.readUInt16BE(14 + 20 + 6)).toBe(1472);
  expect(out.frame.subarray(14 + 28).equals(packet.subarray(0, 548))).toBe(true);
});

test('IPv6 learns it by packet-too-big', async () => {
  const { send } = await endpoint({
    uplinkMtu: 1500,
    entries: [{ kind: 'Place', net: 100, address: bytes16('fd00::3'), value: bytes16(HOST2) }],
  });
  const packet = big('fd00::2', 'fd00::3', 1490);
  const out = send(VM_A1.port, fromVm(VM_A1, packet));
  const error = expectIpv6(out.frame);
  expect(error).toMatchObject({
    source: 'fe80::1',
    destination: 'fd00::2',
    totalLength: 1280,
    icmp: { type: 2, code: 0 },
  });
  expect(out.frame.readUInt32BE(14 + 40 + 4)).toBe(1472);
});

test('an oversized ICMP error is not answered by another one', async () => {
  const { send } = await endpoint({ uplinkMtu: 600 });
  const quote = ipPacket('10.0.0.3', '10.0.0.2', udp(1, 2, Buffer.alloc(600)));
  const bytes = Buffer.concat([Buffer.from('0303000000000000', 'hex'), quote]);
  const error = ipPacket('10.0.0.2', '10.0.0.3', icmpv4(bytes));
  expect(send(VM_A1.port, fromVm(VM_A1, error))).toMatchObject({ verdict: 'Drop', reason: 'TooBig' });
});

test('the answers are rate-limited', async () => {
  const { send } = await endpoint({ uplinkMtu: 1500 });
  const frame = fromVm(VM_A1, big('10.0.0.2', '10.0.0.3', 1473));
  const reasons = Array.from({ length: 400 }, () => send(VM_A1.port, frame).reason);
  expect(reasons.filter((reason) => reason === 'None').length).toBe(256);
  expect(reasons.at(-1)).toBe('ErrorLimited');
});

test('a SYN that leaves a VM is lowered as well', async () => {
  const { send } = await endpoint({ uplinkMtu: 1500 });
  const syn = ipPacket('10.0.0.2', '10.0.0.3', tcp({ mss: 1460 }));
  expect(expectIpv4(send(VM_A1.port, fromVm(VM_A1, syn)).frame).inner?.tcp?.mss).toBe(1432);
});

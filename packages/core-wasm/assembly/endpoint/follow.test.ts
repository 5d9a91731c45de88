// Packets for a VM that has left: sent after it as they came, for a minute, and never in circles (data-plane.md P7.6).
import { expect, test } from 'vitest';
import { gre, ipPacket, tcp } from '../../../../tools/testkit/build.ts';
import { destinationIs, expectIpv4, innerIs, keyIs, sourceIs, ttlIs } from '../../../../tools/testkit/expect.ts';
import {
  CLIENT,
  HOST1,
  HOST2,
  T1,
  VM_A1,
  bytes16,
  endpoint,
  fromUnderlay,
  fromVm,
  type EndpointFixtureOptions,
  type EndpointUnderTest,
} from '../../test/endpoint-fixture.ts';

const HOST3 = '10.255.0.13';
/** A host that the fixture plays when it is the new one. */
const HOST1_AS_NEW = '10.255.0.17';
const MOVED = '10.0.0.9';
const LEFT_AT = 5000;

const inner = (source = CLIENT): Buffer => ipPacket(source, MOVED, tcp({ sourcePort: 40000, destinationPort: 8080 }));
const tunnelled = (outer: string, packet: Buffer, ttl = 64, net = 100): Buffer =>
  fromUnderlay(ipPacket(outer, HOST1, gre(net, packet), ttl));

/** 10.0.0.9 was here until LEFT_AT and lives on host2 now. */
const oldHost = (host = HOST2, options: EndpointFixtureOptions = {}): Promise<EndpointUnderTest> =>
  endpoint({
    ...options,
    entries: [
      { kind: 'Left', net: 100, address: bytes16(MOVED), link: LEFT_AT },
      { kind: 'Place', net: 100, address: bytes16(MOVED), value: bytes16(host) },
      { kind: 'Place', net: 100, address: bytes16('10.0.0.5'), value: bytes16(HOST2) },
      { kind: 'Trusted', address: bytes16(HOST3) },
      ...(options.entries ?? []),
    ],
  });

test('the tunnel goes on to the new host with its own source and a lower hop limit, and is counted', async () => {
  const { send, writer } = await oldHost();
  const out = send(0, tunnelled(T1, inner()), LEFT_AT + 1);
  expect(out).toMatchObject({ verdict: 'Forward', portOut: 0 });
  expectIpv4(
    out.frame,
    sourceIs(T1),
    destinationIs(HOST2),
    ttlIs(63),
    keyIs(100),
    innerIs(sourceIs(CLIENT), destinationIs(MOVED)),
  );
  expect(writer.counters()['endpoint.followed']).toBe(1);
});

test('the new host takes it and answers through the director that sent it', async () => {
  const { frame } = (await oldHost(HOST1_AS_NEW)).send(0, tunnelled(T1, inner()), LEFT_AT + 1);
  const { send } = await endpoint({
    entries: [
      { kind: 'Underlay', address: bytes16(HOST1_AS_NEW) },
      { kind: 'Vm', net: 100, address: bytes16(MOVED), mac: Uint8Array.of(2, 170, 0, 0, 0, 1), device: VM_A1.port },
      { kind: 'Registered', net: 100, address: bytes16(MOVED), port: 8080, protocol: 6 },
    ],
  });
  expect(send(0, fromUnderlay(frame.subarray(14)))).toMatchObject({ verdict: 'Forward', portOut: VM_A1.port });
  const reply = ipPacket(MOVED, CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' }));
  expectIpv4(send(VM_A1.port, fromVm(VM_A1, reply)).frame, destinationIs(T1), keyIs(100));
});

test('after a minute, and without a row of the map, it is unknown', async () => {
  const { send } = await oldHost();
  expect(send(0, tunnelled(T1, inner()), LEFT_AT + 60_000).verdict).toBe('Forward');
  expect(send(0, tunnelled(T1, inner()), LEFT_AT + 60_001)).toMatchObject({ verdict: 'Drop', reason: 'UnknownVm' });
  const other = await endpoint({ entries: [{ kind: 'Left', net: 100, address: bytes16(MOVED), link: LEFT_AT }] });
  expect(other.send(0, tunnelled(T1, inner()), LEFT_AT)).toMatchObject({ verdict: 'Drop', reason: 'UnknownVm' });
});

test('a host brings packets of its own VMs only, and never gets one back', async () => {
  const { send } = await oldHost();
  expect(send(0, tunnelled(HOST3, inner('10.0.0.5')), LEFT_AT)).toMatchObject({ reason: 'SourceElsewhere' });
  expect(send(0, tunnelled(HOST2, inner('10.0.0.5')), LEFT_AT)).toMatchObject({
    verdict: 'Drop',
    reason: 'TunnelLoop',
  });
  const elsewhere = await oldHost(HOST3);
  const out = elsewhere.send(0, tunnelled(HOST2, inner('10.0.0.5')), LEFT_AT);
  expectIpv4(out.frame, sourceIs(HOST2), destinationIs(HOST3));
});

test('a map that still places the VM here, or in the other family, sends nothing anywhere', async () => {
  expect((await oldHost(HOST1)).send(0, tunnelled(T1, inner()), LEFT_AT)).toMatchObject({ reason: 'UnknownVm' });
  expect((await oldHost('2001:db8:ff::12')).send(0, tunnelled(T1, inner()), LEFT_AT)).toMatchObject({
    reason: 'NoHost',
  });
});

test('two hosts that each believe in the other end it by the hop limit', async () => {
  const { send } = await oldHost();
  expect(send(0, tunnelled(T1, inner(), 2), LEFT_AT).verdict).toBe('Forward');
  expect(send(0, tunnelled(T1, inner(), 1), LEFT_AT)).toMatchObject({ verdict: 'Drop', reason: 'TtlExceeded' });
});

test('over IPv6 alike; another VPC knows nothing of it; a VM that is here is never followed', async () => {
  const { send } = await oldHost('2001:db8:ff::12');
  const outer6 = fromUnderlay(ipPacket('2001:db8:fe::1', '2001:db8:ff::11', gre(100, inner()), 64));
  const out = send(0, outer6, LEFT_AT);
  expect(out.verdict).toBe('Forward');
  expect(out.frame.readUInt8(14 + 7)).toBe(63);
  expect(out.frame.subarray(14 + 24, 14 + 40).toString('hex')).toBe('20010db800ff00000000000000000012');
  expect(send(0, tunnelled(T1, inner(), 64, 200), LEFT_AT)).toMatchObject({ reason: 'UnknownVm' });
  const back = await oldHost(HOST2, {
    entries: [
      { kind: 'Vm', net: 100, address: bytes16(MOVED), mac: Uint8Array.of(2, 170, 0, 0, 0, 1), device: VM_A1.port },
    ],
  });
  expect(back.send(0, tunnelled(T1, inner()), LEFT_AT).portOut).toBe(VM_A1.port);
});

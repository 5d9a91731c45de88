// Frames from VMs: the ways out in the order of P7.5, anti-spoof, and what the return memory keeps (P7.4, P28).
import { expect, test } from 'vitest';
import { gre, ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import {
  destinationIs,
  expectIpv4,
  innerIs,
  keyIs,
  portsAre,
  sourceIs,
  ttlIs,
} from '../../../../tools/testkit/expect.ts';
import { parseFrame } from '../../../../tools/testkit/parse.ts';
import { nameOf, verdictEnum } from '../../layout/index.ts';
import { NextHopTable } from '../../src/index.ts';
import {
  ANYCAST,
  CLIENT,
  type EndpointUnderTest,
  HOST1,
  HOST2,
  SWITCH_MAC,
  T1,
  T2,
  UPLINK_MAC,
  VM_A1,
  VM_A3,
  VM_B1,
  bytes16,
  eipOf,
  endpoint,
  fromUnderlay,
  fromVm,
  icmpv4,
  mac,
} from '../../test/endpoint-fixture.ts';

const reply = (to = CLIENT, port = 40000, flags = 'A'): Buffer =>
  ipPacket('10.0.0.2', to, tcp({ sourcePort: 8080, destinationPort: port, flags }));
const bring = (
  under: EndpointUnderTest,
  outer: string,
  source = CLIENT,
  port = 40000,
  key = 100,
  nowMs = 1000,
): void => {
  const inner = ipPacket(source, '10.0.0.2', tcp({ sourcePort: port, destinationPort: 8080 }));
  expect(under.send(0, fromUnderlay(ipPacket(outer, HOST1, gre(key, inner))), nowMs).verdict).toBe('Forward');
};
const outerDestination = (frame: Buffer): string | undefined => parseFrame(frame).ip?.destination;

test('a reply goes back to the tunnel address that last carried its flow, in GRE with the key of the VPC', async () => {
  const under = await endpoint();
  bring(under, T2);
  const out = under.send(VM_A1.port, fromVm(VM_A1, reply()));
  expect(out).toMatchObject({ verdict: 'Forward', portOut: 0 });
  expect(parseFrame(out.frame)).toMatchObject({ sourceMac: UPLINK_MAC, destinationMac: SWITCH_MAC });
  expectIpv4(out.frame, sourceIs(HOST1), destinationIs(T2), ttlIs(64), keyIs(100));
  // The endpoint is no router: the TTL of the inner packet stays (P17).
  expectIpv4(out.frame, innerIs(sourceIs('10.0.0.2'), destinationIs(CLIENT), portsAre(8080, 40000), ttlIs(64)));
  expect(parseFrame(out.frame).ip).toMatchObject({ dontFragment: true, identification: 0 });
});

test('every packet in moves the memory, so replies follow a flow that changed its director', async () => {
  const under = await endpoint();
  bring(under, T1);
  bring(under, T2);
  expect(outerDestination(under.send(VM_A1.port, fromVm(VM_A1, reply())).frame)).toBe(T2);
});

test('VMs of one address in two VPCs have memories of their own', async () => {
  const under = await endpoint();
  bring(under, T1, CLIENT, 40000, 100);
  bring(under, T2, CLIENT, 40000, 200);
  const out = (vm: typeof VM_A1): Buffer => under.send(vm.port, fromVm(vm, reply())).frame;
  expectIpv4(out(VM_A1), destinationIs(T1), keyIs(100));
  expectIpv4(out(VM_B1), destinationIs(T2), keyIs(200));
});

test('exact memory wins over the VPC map: a reply to a client VM passes the director', async () => {
  const under = await endpoint();
  bring(under, T1, '10.0.0.3');
  expectIpv4(under.send(VM_A1.port, fromVm(VM_A1, reply('10.0.0.3'))).frame, destinationIs(T1));
  expectIpv4(under.send(VM_A1.port, fromVm(VM_A1, reply('10.0.0.3', 40001))).frame, destinationIs(HOST2), keyIs(100));
});

test('an internal VIP goes to a director, always the same one for a flow', async () => {
  const under = await endpoint();
  const to = (port: number): string | undefined => {
    const packet = ipPacket('10.0.0.2', '10.0.0.100', tcp({ sourcePort: port }));
    return outerDestination(under.send(VM_A1.port, fromVm(VM_A1, packet)).frame);
  };
  const first = Array.from({ length: 64 }, (_, index) => to(1000 + index));
  expect(first).toEqual(Array.from({ length: 64 }, (_, index) => to(1000 + index)));
  expect(new Set(first)).toEqual(new Set([T1, T2]));
});

test('a neighbour on this host is reached without a tunnel, one on another host by GRE to that host', async () => {
  const under = await endpoint();
  const local = under.send(VM_A1.port, fromVm(VM_A1, ipPacket('10.0.0.2', '10.0.0.4', udp(1, 2, Buffer.from('x')))));
  expect(local).toMatchObject({ verdict: 'Forward', portOut: VM_A3.port });
  expect(parseFrame(local.frame).destinationMac).toBe(VM_A3.mac);
  const remote = under.send(VM_A1.port, fromVm(VM_A1, ipPacket('10.0.0.2', '10.0.0.3', udp(1, 2, Buffer.from('x')))));
  expectIpv4(remote.frame, sourceIs(HOST1), destinationIs(HOST2), keyIs(100));
});

test('no way leads from one VPC into another', async () => {
  const under = await endpoint();
  const packet = ipPacket('10.0.0.2', '10.0.0.4', udp(1, 2, Buffer.from('x')));
  expect(under.send(VM_B1.port, fromVm(VM_B1, packet))).toMatchObject({ verdict: 'Drop', reason: 'NoWayOut' });
});

test('an ICMP error follows the flow that it quotes; a ping follows its identifier', async () => {
  const under = await endpoint();
  bring(under, T2, CLIENT, 40000);
  bring(under, T1, CLIENT, 40001);
  const quote = ipPacket(CLIENT, '10.0.0.2', tcp({ sourcePort: 40000, destinationPort: 8080 })).subarray(0, 28);
  const error = ipPacket('10.0.0.2', CLIENT, icmpv4(Buffer.concat([Buffer.from('0303000000000000', 'hex'), quote])));
  expect(outerDestination(under.send(VM_A1.port, fromVm(VM_A1, error)).frame)).toBe(T2);
});

test('what has no exact memory goes by the coarse one: fragments, evicted flows', async () => {
  const under = await endpoint();
  bring(under, T2);
  const fragment = reply();
  fragment.writeUInt16BE(0x2000, 6);
  fragment.writeUInt16BE(fragment.readUInt16BE(10) + 0x2000, 10);
  expect(outerDestination(under.send(VM_A1.port, fromVm(VM_A1, fragment)).frame)).toBe(T2);
  expect(under.writer.counters()['endpoint.recalledCoarse']).toBe(1);
});

test('a registered target without any memory answers through some director; another port has no way out', async () => {
  const under = await endpoint();
  const out = under.send(VM_A1.port, fromVm(VM_A1, reply()));
  expect([T1, T2]).toContain(outerDestination(out.frame));
  const other = ipPacket('10.0.0.2', CLIENT, tcp({ sourcePort: 9999, flags: 'A' }));
  expect(under.send(VM_A1.port, fromVm(VM_A1, other))).toMatchObject({ verdict: 'Drop', reason: 'NoWayOut' });
});

test('what a VM with an EIP starts itself leaves to the anycast address, also towards a client of its listener', async () => {
  const under = await endpoint({ entries: [eipOf(VM_A1)] });
  bring(under, T1);
  const own = ipPacket('10.0.0.2', CLIENT, tcp({ sourcePort: 50000, destinationPort: 443 }));
  expectIpv4(under.send(VM_A1.port, fromVm(VM_A1, own)).frame, sourceIs(HOST1), destinationIs(ANYCAST), keyIs(100));
  expect(outerDestination(under.send(VM_A1.port, fromVm(VM_A1, reply())).frame)).toBe(T1);
  const ping = ipPacket('10.0.0.2', CLIENT, icmpv4(Buffer.from('0800000000070001', 'hex')));
  expect(outerDestination(under.send(VM_A1.port, fromVm(VM_A1, ping)).frame)).toBe(ANYCAST);
});

test('an EIP client is answered to the anycast address by memory', async () => {
  const under = await endpoint();
  bring(under, ANYCAST);
  expect(outerDestination(under.send(VM_A1.port, fromVm(VM_A1, reply())).frame)).toBe(ANYCAST);
});

test('a VM cannot send from an address that is not its own, on either layer', async () => {
  const { send } = await endpoint();
  const stolen = ipPacket('10.0.0.4', '10.0.0.3', udp(1, 2, Buffer.from('x')));
  expect(send(VM_A1.port, fromVm(VM_A1, stolen))).toMatchObject({ verdict: 'Drop', reason: 'SpoofedSource' });
  expect(send(VM_A1.port, fromVm(VM_A3, reply('10.0.0.3')))).toMatchObject({
    verdict: 'Drop',
    reason: 'SpoofedSource',
  });
});

test('the memory forgets after its idle time and not before', async () => {
  const under = await endpoint();
  bring(under, T2, '192.0.2.9', 40000, 200);
  const packet = (): Buffer => fromVm(VM_B1, reply('192.0.2.9'));
  expect(under.send(VM_B1.port, packet(), 900_000).verdict).toBe('Forward');
  expect(under.send(VM_B1.port, packet(), 902_000)).toMatchObject({ verdict: 'Drop', reason: 'NoWayOut' });
});

test('a full memory keeps the newest flows and counts what it pushed out', async () => {
  const under = await endpoint({ returnEntries: 64 });
  for (let port = 0; port < 200; port++) bring(under, T1, CLIENT, 20000 + port, 200, 1000 + port);
  expect(under.writer.counters()['endpoint.evicted']).toBeGreaterThan(0);
  const last = under.send(VM_B1.port, fromVm(VM_B1, reply(CLIENT, 20199)), 1300);
  expect(last.verdict).toBe('Forward');
  expect(under.writer.counters()['endpoint.recalledExact']).toBe(1);
});

test('a packet whose next hop is unknown is held complete, and leaves once it is known', async () => {
  const { core, send } = await endpoint();
  const hops = new NextHopTable(core.plan, core.memory);
  hops.setRoute('10.255.0.12', 32, null, 0);
  const packet = ipPacket('10.0.0.2', '10.0.0.3', udp(1, 2, Buffer.from('x')));
  expect(send(VM_A1.port, fromVm(VM_A1, packet))).toMatchObject({ verdict: 'Held', reason: 'Unresolved' });
  expect(core.takeUnresolved().map(({ address }) => Buffer.from(address))).toEqual([Buffer.from(bytes16(HOST2))]);
  const held = core.ipPacket(0).slice();
  hops.setNeighbour(HOST2, mac('02:10:00:00:00:12'), 0);
  core.inject([held]);
  core.emitBurst(1, 1001);
  const out = Buffer.from(core.frame(0));
  expect(nameOf(verdictEnum, core.verdict(0))).toBe('Forward');
  expect(parseFrame(out).destinationMac).toBe('02:10:00:00:00:12');
  expectIpv4(out, destinationIs(HOST2), keyIs(100), innerIs(destinationIs('10.0.0.3')));
});

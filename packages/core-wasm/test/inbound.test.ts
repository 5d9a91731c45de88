// Client to target: every kind of listener and target of phase 1 (data-plane.md P3, P4, P8, P12, P14, P20, P23, P31, P41).
import { describe, expect, test } from 'vitest';
import { ethernet, gre, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import {
  destinationIs,
  expectIpv4,
  expectIpv6,
  innerIs,
  keyIs,
  portsAre,
  sourceIs,
  ttlIs,
} from '../../../tools/testkit/expect.ts';
import { parseFrame } from '../../../tools/testkit/parse.ts';
import {
  CLIENT,
  CLIENT6,
  DIRECTOR_MAC,
  HOST1,
  HOST2,
  HOST6,
  PROXY,
  SERVER,
  SWITCH_MAC,
  T1,
  T1V6,
  TABLES,
  VIP,
  VIP6,
  VM_A1,
  VM_A2,
  director,
  id,
  outcome,
} from './director-fixture.ts';
import { Health, PacketRecord } from '../layout/index.ts';

const syn = (port: number, sourcePort = 40000): Buffer =>
  ipPacket(CLIENT, VIP, tcp({ sourcePort, destinationPort: port, mss: 1460 }));
const ack = (port: number, sourcePort = 40000): Buffer =>
  ipPacket(CLIENT, VIP, tcp({ sourcePort, destinationPort: port, flags: 'A' }));

describe('translation × encapsulation', () => {
  test('DNAT × GRE: the target sees the client, the host sees the VPC id', async () => {
    const { receive } = await director();
    const { frame } = receive(syn(80));
    expectIpv4(
      frame,
      sourceIs(T1),
      destinationIs(HOST1),
      keyIs(100),
      ttlIs(64),
      innerIs(sourceIs(CLIENT), destinationIs(VM_A1), portsAre(40000, 8080), ttlIs(63)),
    );
  });

  test('DNAT × IPIP: a physical server gets the packet in IP in IP', async () => {
    const { receive } = await director();
    const { frame } = receive(syn(90));
    const ip = expectIpv4(
      frame,
      sourceIs(T1),
      destinationIs(SERVER),
      innerIs(sourceIs(CLIENT), destinationIs(SERVER), portsAre(40000, 8080)),
    );
    expect(ip.protocol).toBe(4);
  });

  test('none × GRE with key 0: a proxy sees the VIP and its port', async () => {
    const { receive } = await director();
    expectIpv4(
      receive(syn(91)).frame,
      destinationIs(PROXY),
      keyIs(0),
      innerIs(destinationIs(VIP), portsAre(40000, 91)),
    );
  });

  test('none × IPIP is LVS-TUN: the VIP stays, the neighbour is the server itself', async () => {
    const { receive } = await director();
    const { frame } = receive(syn(92));
    expectIpv4(frame, sourceIs(T1), destinationIs('10.255.0.41'), innerIs(destinationIs(VIP), portsAre(40000, 92)));
    expect(parseFrame(frame).destinationMac).toBe('02:10:00:00:00:41');
  });

  test('none × L2 is LVS-DR: the packet itself, to the MAC of the target', async () => {
    const { receive } = await director();
    const { frame } = receive(syn(93));
    expectIpv4(frame, sourceIs(CLIENT), destinationIs(VIP), portsAre(40000, 93), ttlIs(63));
    expect(parseFrame(frame).destinationMac).toBe('02:10:00:00:00:42');
  });

  test('DNAT × none is LVS-NAT', async () => {
    const { receive } = await director();
    expectIpv4(receive(syn(94)).frame, sourceIs(CLIENT), destinationIs('10.255.0.43'), portsAre(40000, 8080));
  });

  test('full NAT: the target sees a local address of this director', async () => {
    const { receive } = await director();
    const { inner } = expectIpv4(receive(syn(95)).frame, keyIs(100), innerIs(destinationIs(VM_A1)));
    expect(inner?.source).toMatch(/^100\.80\.16\.([1-9]|1[0-6])$/);
    const again = expectIpv4(receive(ack(95)).frame);
    expect(again.inner?.source).toBe(inner?.source);
    expect(again.inner?.tcp?.sourcePort).toBe(inner?.tcp?.sourcePort);
  });

  test('UDP, its checksum kept true', async () => {
    const { receive } = await director();
    const { frame } = receive(ipPacket(CLIENT, VIP, udp(5353, 53, Buffer.from('query'))));
    expectIpv4(frame, innerIs(destinationIs(VM_A1), portsAre(5353, 8080)));
  });

  test('IPv6 inside IPv6', async () => {
    const { receive } = await director();
    const { frame } = receive(ipPacket(CLIENT6, VIP6, tcp({ destinationPort: 80 })));
    expectIpv6(
      frame,
      sourceIs(T1V6),
      destinationIs(HOST6),
      keyIs(100),
      innerIs(sourceIs(CLIENT6), destinationIs('fd00:100::2'), portsAre(40000, 8080), ttlIs(63)),
    );
  });
});

describe('flows', () => {
  test('a known flow keeps its target when the target dies', async () => {
    const { receive, writer } = await director();
    const first = parseFrame(receive(syn(200)).frame).ip?.inner?.destination;
    for (const name of ['a1', 'a2']) if ((name === 'a1') === (first === VM_A1)) writer.setHealth(id(name), Health.Dead);
    expect(parseFrame(receive(ack(200)).frame).ip?.inner?.destination).toBe(first);
  });

  test('a new flow avoids a dead target, and all dead means all alive', async () => {
    const { receive, writer } = await director();
    const seen = new Set<string | undefined>();
    writer.setHealth(id('a2'), Health.Dead);
    for (let port = 1000; port < 1100; port++) seen.add(parseFrame(receive(syn(200, port)).frame).ip?.destination);
    expect([...seen]).toEqual([HOST1]);
    writer.setHealth(id('a1'), Health.Dead);
    for (let port = 1100; port < 1200; port++) seen.add(parseFrame(receive(syn(200, port)).frame).ip?.destination);
    expect([...seen].sort()).toEqual([HOST1, HOST2]);
  });

  test('weighted round robin holds the weights over a thousand connections', async () => {
    const { receive } = await director();
    let second = 0;
    for (let port = 0; port < 1000; port++)
      if (parseFrame(receive(syn(82, 10000 + port)).frame).ip?.destination === HOST2) second++;
    expect(Math.abs(second / 1000 - 0.75)).toBeLessThan(0.03);
  });

  test('the middle of a connection is picked up on a Maglev listener and refused on a round-robin one', async () => {
    const { core, receive } = await director();
    expect(receive(ack(200)).verdict).toBe('Forward');
    expect(core.counters().flowsPickedUp).toBe(1);
    expect(receive(ack(82))).toMatchObject({ verdict: 'Drop', reason: 'MidFlow' });
  });

  test('a flow picked up by another director goes to the same target', async () => {
    const one = await director();
    const two = await director();
    for (let port = 2000; port < 2050; port++) {
      const first = parseFrame(one.receive(syn(200, port)).frame).ip?.inner?.destination;
      expect(parseFrame(two.receive(ack(200, port)).frame).ip?.inner?.destination).toBe(first);
    }
  });

  test('the same client tuple to two listeners of one target gets another port, and both replies find home', async () => {
    const { core, receive } = await director();
    const first = expectIpv4(receive(syn(80)).frame, innerIs(portsAre(40000, 8080)));
    const second = expectIpv4(receive(syn(81)).frame);
    const port = second.inner?.tcp?.sourcePort ?? 0;
    expect(port).not.toBe(40000);
    expect(core.counters().portsRewritten).toBe(1);
    expect(first.inner?.source).toBe(CLIENT);
    const reply = (to: number): Buffer =>
      ipPacket(
        HOST1,
        T1,
        gre(100, ipPacket(VM_A1, CLIENT, tcp({ sourcePort: 8080, destinationPort: to, flags: 'SA' }))),
      );
    expectIpv4(receive(reply(40000)).frame, sourceIs(VIP), portsAre(80, 40000));
    expectIpv4(receive(reply(port)).frame, sourceIs(VIP), portsAre(81, 40000));
  });

  test('a SYN on the ports of a closed connection is scheduled afresh', async () => {
    const { core, receive } = await director();
    receive(syn(80));
    receive(ipPacket(CLIENT, VIP, tcp({ destinationPort: 80, flags: 'R' })));
    receive(syn(80));
    expect(core.counters()).toMatchObject({ flowsActive: 1, flowsCreated: 2 });
  });

  test('idle flows end, and their references with them', async () => {
    const { core, receive, slots } = await director();
    receive(syn(80), 1000);
    expect(core.expireFlows(10_000)).toBe(0);
    expect(core.expireFlows(17_000)).toBe(1);
    expect(core.counters().flowsActive).toBe(0);
    const slot = slots.targets.slotOf(id('a1')) ?? 0;
    expect(core.view.getUint32(core.worker.targetRefs + slot * 4, true)).toBe(0);
  });

  test('a flood of SYNs evicts half-open flows, never an established one', async () => {
    const { core, receive } = await director({ plan: { flows: 256 } });
    receive(syn(80, 1), 1000);
    receive(
      ipPacket(
        HOST1,
        T1,
        gre(100, ipPacket(VM_A1, CLIENT, tcp({ sourcePort: 8080, destinationPort: 1, flags: 'SA' }))),
      ),
      1000,
    );
    receive(ack(80, 1), 1000);
    for (let port = 2; port < 2000; port++) receive(syn(80, port), 1000);
    expect(core.counters().flowsActive).toBe(256);
    receive(ack(80, 1), 1000);
    expect(core.counters().flowsPickedUp).toBe(0);
    expect(core.counters().flowsEvicted).toBe(2000 - 1 - 256);
  });

  test('a flood of forged ACKs evicts what it has made itself, never an established flow', async () => {
    const { core, receive } = await director({ plan: { flows: 256 } });
    const fromTarget = (port: number): Buffer =>
      ipPacket(
        HOST1,
        T1,
        gre(100, ipPacket(VM_A1, CLIENT, tcp({ sourcePort: 8080, destinationPort: port, flags: 'SA' }))),
      );
    receive(syn(82, 1), 1000);
    const host = parseFrame(receive(syn(80, 2), 1000).frame).ip?.destination;
    expect(host).toBe(HOST1);
    receive(fromTarget(2), 1000);
    receive(ack(80, 2), 1000);
    for (let port = 3; port < 3000; port++) receive(ack(200, port), 1000);
    const before = core.counters().flowsPickedUp;
    expect(receive(ack(80, 2), 1000).verdict).toBe('Forward');
    expect(core.counters().flowsPickedUp).toBe(before);
  });
});

describe('removal of a target', () => {
  const without = (onRemove: 'run' | 'reset' | 'reschedule') => ({
    ...TABLES,
    listeners: TABLES.listeners.map((row) => ({ ...row, onRemove })),
    groups: TABLES.groups.map((row) =>
      row.id === id('ga1')
        ? { ...row, targets: [{ target: id('a2'), weight: 1 }] }
        : row.id === id('gboth')
          ? { ...row, targets: [{ target: id('a2'), weight: 1 }] }
          : row,
    ),
    targets: TABLES.targets.filter((row) => row.id !== id('a1')),
  });

  test.each([
    ['run', VM_A1],
    ['reschedule', VM_A2],
  ] as const)('policy %s: the flow goes on to %s', async (policy, expected) => {
    const { apply, receive } = await director();
    receive(syn(80));
    apply(without(policy));
    expectIpv4(receive(ack(80)).frame, innerIs(destinationIs(expected)));
  });

  test('policy reset: the flow ends', async () => {
    const { apply, receive } = await director();
    receive(syn(80));
    apply(without('reset'));
    const { verdict, frame } = receive(ack(80));
    expect(verdict).toBe('Forward');
    expectIpv4(frame, sourceIs(VIP), destinationIs(CLIENT), portsAre(80, 40000));
    expect(parseFrame(frame).ip?.tcp?.flags).toBe('R');
  });
});

describe('what does not pass', () => {
  test.each([
    ['an unknown port of a VIP', syn(4444), 'NoListener'],
    ['the VIP as its own source', ipPacket(VIP, VIP, tcp({ destinationPort: 80 })), 'SourceIsVip'],
    ['a multicast source', ipPacket('224.0.0.1', VIP, tcp({ destinationPort: 80 })), 'Martian'],
    ['a loopback source', ipPacket('127.0.0.1', VIP, tcp({ destinationPort: 80 })), 'Martian'],
    ['a group without targets', syn(99), 'NoTarget'],
  ])('%s', async (_name, packet, reason) => {
    const { receive, core } = await director();
    const out = receive(packet);
    expect(out).toMatchObject({ verdict: 'Drop', reason });
    expect(core.counters()[`reason.${reason}`]).toBe(1);
  });

  test.each([
    ['behind the slab', 0xffff_0000, 60],
    ['across the end of its chunk', 2040, 60],
    ['longer than a chunk', 0, 2049],
  ])('a record whose frame lies %s', async (_name, address, length) => {
    const { core } = await director();
    core.inject([ethernet(SWITCH_MAC, DIRECTOR_MAC, syn(80))], 0);
    core.view.setUint32(core.record(0) + PacketRecord.at.address, address, true);
    core.view.setUint32(core.record(0) + PacketRecord.at.length, length, true);
    core.forwardBurst(1, 1000);
    expect(outcome(core, 0)).toMatchObject({ verdict: 'Drop', reason: 'BadAddress' });
  });

  test('anything before the first image', async () => {
    const { receive } = await director({ withoutImage: true });
    expect(receive(syn(80))).toMatchObject({ verdict: 'Drop', reason: 'NoImage' });
  });
});

describe('size and next hop', () => {
  test('a packet too large for the tunnel is answered in the VIP’s name with the MTU that is left', async () => {
    const { receive, core } = await director();
    const big = ipPacket(CLIENT, VIP, tcp({ destinationPort: 80, flags: 'A', payload: Buffer.alloc(1440) }));
    const out = receive(big);
    expect(out.verdict).toBe('Forward');
    const ip = expectIpv4(out.frame, sourceIs(VIP), destinationIs(CLIENT));
    expect(ip.icmp).toMatchObject({ type: 3, code: 4 });
    expect(ip.totalLength).toBe(576);
    expect(out.frame.readUInt16BE(14 + 20 + 6)).toBe(1472);
    expect(out.frame.subarray(14 + 28, 14 + 28 + 40).equals(big.subarray(0, 40))).toBe(true);
    expect(core.counters().generated).toBe(1);
  });

  test('IPv6 likewise', async () => {
    const { receive } = await director();
    const out = receive(ipPacket(CLIENT6, VIP6, tcp({ destinationPort: 80, flags: 'A', payload: Buffer.alloc(1440) })));
    const ip = expectIpv6(out.frame, sourceIs(VIP6), destinationIs(CLIENT6));
    expect(ip.icmp).toMatchObject({ type: 2, code: 0 });
    expect(out.frame.readUInt32BE(14 + 40 + 4)).toBe(1500 - 48);
  });

  test('a TTL that runs out is answered with time exceeded', async () => {
    const { receive } = await director();
    const ip = expectIpv4(
      receive(ipPacket(CLIENT, VIP, tcp({ destinationPort: 80 }), 1)).frame,
      sourceIs(VIP),
      destinationIs(CLIENT),
    );
    expect(ip.icmp).toMatchObject({ type: 11, code: 0 });
  });

  test('an unresolved next hop holds the whole packet and reports whom to ask; emit sends it later', async () => {
    const { core, hops, receive } = await director({ withoutNeighbour: true });
    expect(receive(syn(80))).toMatchObject({ verdict: 'Held', reason: 'Unresolved' });
    const held = Buffer.from(core.ipPacket(0));
    const [asked] = core.takeUnresolved();
    expect(asked).toMatchObject({ port: 0 });
    expect([...(asked?.address.subarray(12) ?? [])].join('.')).toBe('10.1.0.254');
    expect(core.takeUnresolved()).toEqual([]);
    hops.setNeighbour('10.1.0.254', Uint8Array.of(2, 0x10, 0, 0, 0, 0xfe), 0);
    core.inject([held]);
    core.emitBurst(1, 1001);
    expect(core.verdict(0)).toBe(1);
    const frame = Buffer.from(core.frame(0));
    expect(parseFrame(frame).destinationMac).toBe(SWITCH_MAC);
    expectIpv4(frame, destinationIs(HOST1), innerIs(destinationIs(VM_A1)));
  });
});

// Schedulers and stickiness as a client meets them (data-plane.md P12, P13, P34): who gets a new flow, and who keeps it.
import { describe, expect, test } from 'vitest';
import { ethernet, gre, ipPacket, tcp } from '../../../tools/testkit/build.ts';
import { destinationIs, expectIpv4, innerIs, portsAre, sourceIs } from '../../../tools/testkit/expect.ts';
import { parseFrame } from '../../../tools/testkit/parse.ts';
import { Health } from '../layout/index.ts';
import {
  CLIENT,
  DIRECTOR_MAC,
  HOST1,
  HOST2,
  SWITCH_MAC,
  T1,
  TABLES,
  VIP,
  VM_A1,
  VM_A2,
  director,
  id,
  outcome,
  type DirectorUnderTest,
} from './director-fixture.ts';

type Listener = (typeof TABLES.listeners)[number];
/** Everything as it is, but the listener on port 82, whose targets a1 and a2 have the weights 1 and 3. */
const withListener = (more: Partial<Listener>, ordinal = 1) => ({
  ...TABLES,
  self: { ...TABLES.self, ordinal },
  listeners: TABLES.listeners.map((row) => (row.vport === 82 ? { ...row, ...more } : row)),
});
const started = async (more: Partial<Listener>, ordinal = 1): Promise<DirectorUnderTest> => {
  const under = await director();
  under.apply(withListener(more, ordinal));
  return under;
};
const fromClient = (client: string, sourcePort: number, flags = 'S'): Buffer =>
  ipPacket(client, VIP, tcp({ sourcePort, destinationPort: 82, flags }));
const targetOf = ({ receive }: DirectorUnderTest, packet: Buffer, nowMs = 1000): string | undefined =>
  expectIpv4(receive(packet, nowMs).frame).inner?.destination;
const shares = (seen: readonly (string | undefined)[]): number[] =>
  [VM_A1, VM_A2].map((vm) => seen.filter((one) => one === vm).length);
const ports = (count: number): number[] => Array.from({ length: count }, (_, index) => 20_000 + index);

describe('least-connections', () => {
  test('flows that stay are spread by weight exactly', async () => {
    const under = await started({ scheduler: 'least-connections' });
    expect(shares(ports(400).map((port) => targetOf(under, fromClient(CLIENT, port))))).toEqual([100, 300]);
  });

  test('a target whose flows have ended gets the next ones', async () => {
    const under = await started({ scheduler: 'least-connections' });
    const placed = ports(40).map((port) => [port, targetOf(under, fromClient(CLIENT, port))] as const);
    expect(shares(placed.map(([, vm]) => vm))).toEqual([10, 30]);
    // Its ten flows are reset and forgotten; ten new ones find it empty.
    for (const [port, vm] of placed) if (vm === VM_A1) under.receive(fromClient(CLIENT, port, 'R'), 1001);
    const expire = under.core.exports['expireFlows'] as (nowMs: number) => number;
    for (const nowMs of [11_500, 11_501, 11_502]) expire(nowMs);
    const later = ports(10).map((port) => targetOf(under, fromClient('198.51.100.9', port), 11_600));
    expect(shares(later)).toEqual([10, 0]);
  });

  test('a dead target is passed over, one with weight 0 gets nothing', async () => {
    const under = await started({ scheduler: 'least-connections' });
    under.writer.setHealth(id('a2'), Health.Dead);
    expect(shares(ports(20).map((port) => targetOf(under, fromClient(CLIENT, port))))).toEqual([20, 0]);
    const tables = withListener({ scheduler: 'least-connections' });
    const drained = { target: id('a1'), weight: 0 };
    under.apply({
      ...tables,
      groups: tables.groups.map((row) =>
        row.id === id('gboth') ? { ...row, targets: [drained, { target: id('a2'), weight: 3 }] } : row,
      ),
    });
    const later = ports(20).map((port) => targetOf(under, fromClient('198.51.100.9', port)));
    expect(shares(later)).toEqual([0, 20]);
    // What runs stays where it is.
    expect(targetOf(under, fromClient(CLIENT, 20_000, 'A'))).toBe(VM_A1);
  });
});

describe('ip-hash', () => {
  test('every port of a client goes to one target, on every director, and clients are spread by weight', async () => {
    const [one, two] = await Promise.all([started({ scheduler: 'ip-hash' }), started({ scheduler: 'ip-hash' }, 2)]);
    const clients = Array.from({ length: 250 }, (_, index) => `198.51.100.${index + 1}`);
    const chosen = clients.map((client) => targetOf(one, fromClient(client, 1)));
    expect(clients.map((client) => targetOf(two, fromClient(client, 4711)))).toEqual(chosen);
    const [light = 0, heavy = 0] = shares(chosen);
    expect(heavy / light).toBeGreaterThan(2);
    expect(heavy / light).toBeLessThan(4.5);
  });

  test('mid-flow packets of strangers are picked up, as on a Maglev listener', async () => {
    const under = await started({ scheduler: 'ip-hash' });
    const first = targetOf(under, fromClient(CLIENT, 1));
    expect(targetOf(under, fromClient(CLIENT, 2, 'A'))).toBe(first);
    const asked = await started({ scheduler: 'least-connections' });
    expect(asked.receive(fromClient(CLIENT, 2, 'A'))).toMatchObject({ verdict: 'Drop', reason: 'MidFlow' });
  });
});

describe('stickiness by source', () => {
  test.each(['wrr', 'least-connections', 'maglev', 'ip-hash'] as const)(
    '%s: a client keeps its target while it comes again in time',
    async (scheduler) => {
      const under = await started({ scheduler, stickySeconds: 30 });
      const first = targetOf(under, fromClient(CLIENT, 1), 1000);
      for (const [index, nowMs] of [29_000, 57_000, 86_000].entries()) {
        expect(targetOf(under, fromClient(CLIENT, 2 + index), nowMs)).toBe(first);
      }
    },
  );

  test('without it the same connections are spread, and after its time they are again', async () => {
    const plain = await started({ scheduler: 'wrr' });
    expect(new Set(ports(8).map((port) => targetOf(plain, fromClient(CLIENT, port)))).size).toBe(2);
    const under = await started({ scheduler: 'wrr', stickySeconds: 30 });
    const seen = ports(8).map((port, index) => targetOf(under, fromClient(CLIENT, port), 1000 + index * 31_000));
    expect(new Set(seen).size).toBe(2);
  });

  test('a target that died, drains or is gone loses its clients; the next one keeps them', async () => {
    const under = await started({ scheduler: 'wrr', stickySeconds: 3600 });
    const first = targetOf(under, fromClient(CLIENT, 1));
    const [name, other] = first === VM_A1 ? (['a1', VM_A2] as const) : (['a2', VM_A1] as const);
    under.writer.setHealth(id(name), Health.Dead);
    expect(targetOf(under, fromClient(CLIENT, 2))).toBe(other);
    under.writer.setHealth(id(name), Health.Alive);
    for (const port of ports(6)) expect(targetOf(under, fromClient(CLIENT, port))).toBe(other);
  });

  test('a flood of sources costs stickiness at most, never memory or a wrong target', async () => {
    const under = await started({ scheduler: 'wrr', stickySeconds: 3600 });
    const sources = Array.from({ length: 3000 }, (_, index) => `10.${index >> 8}.${index & 255}.7`);
    const seen = shares(sources.map((source) => targetOf(under, fromClient(source, 1))));
    expect(seen).toEqual([750, 2250]);
  });
});

describe('a target removed with the policy reset', () => {
  const without = () => ({
    ...withListener({ scheduler: 'maglev', onRemove: 'reset' }),
    groups: TABLES.groups.map((row) =>
      row.targets.some(({ target }) => target === id('a1'))
        ? { ...row, targets: [{ target: id('a2'), weight: 1 }] }
        : row,
    ),
    targets: TABLES.targets.filter((row) => row.id !== id('a1')),
    listeners: TABLES.listeners.map((row) => ({ ...row, onRemove: 'reset' as const })),
  });
  /** An established connection of port 80, whose only target is a1 until it is removed. */
  const established = async (): Promise<DirectorUnderTest> => {
    const under = await director();
    const client = (flags: string): Buffer =>
      ipPacket(CLIENT, VIP, tcp({ sourcePort: 40000, destinationPort: 80, flags }));
    under.receive(client('S'));
    under.receive(fromTarget('SA'));
    under.receive(client('A'));
    under.apply(without());
    return under;
  };
  const fromTarget = (flags: string, more = {}): Buffer =>
    ipPacket(
      HOST1,
      T1,
      gre(100, ipPacket(VM_A1, CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags, ...more }))),
    );
  /** All packets that one packet makes. */
  const all = ({ core }: DirectorUnderTest, packet: Buffer) => {
    core.inject([ethernet(SWITCH_MAC, DIRECTOR_MAC, packet)], 0);
    const records = (core.exports['forwardBurst'] as (count: number, nowMs: number) => number)(1, 2000);
    return Array.from({ length: records }, (_, index) => outcome(core, index));
  };
  /** A reset is nothing but a header, so it is the end of its frame. */
  const flagsOf = (frame: Buffer) => {
    const ip = parseFrame(frame).ip;
    return { flags: (ip?.inner ?? ip)?.tcp?.flags, sequence: frame.readUInt32BE(frame.length - 16) };
  };

  test('a packet of the client resets both ends, with the sequence numbers that each expects', async () => {
    const under = await established();
    const data = tcp({
      sourcePort: 40000,
      destinationPort: 80,
      flags: 'PA',
      sequence: 1111,
      acknowledgement: 2222,
      payload: Buffer.from('x'),
    });
    const [toClient, toTarget, ...none] = all(under, ipPacket(CLIENT, VIP, data));
    expect([toClient?.verdict, toTarget?.verdict, none]).toEqual(['Forward', 'Forward', []]);
    expectIpv4(toClient!.frame, sourceIs(VIP), destinationIs(CLIENT), portsAre(80, 40000));
    expect(flagsOf(toClient!.frame)).toEqual({ flags: 'R', sequence: 2222 });
    expectIpv4(
      toTarget!.frame,
      destinationIs(HOST1),
      innerIs(sourceIs(CLIENT), destinationIs(VM_A1), portsAre(40000, 8080)),
    );
    expect(flagsOf(toTarget!.frame)).toEqual({ flags: 'R', sequence: 1111 });
    expect(under.core.counters()['flowsActive'] ?? 0).toBe(0);
  });

  test('a packet of the target resets both ends as well', async () => {
    const under = await established();
    const [toTarget, toClient, ...none] = all(under, fromTarget('PA', { sequence: 3333, acknowledgement: 4444 }));
    expect([toTarget?.verdict, toClient?.verdict, none]).toEqual(['Forward', 'Forward', []]);
    expectIpv4(toClient!.frame, sourceIs(VIP), destinationIs(CLIENT), portsAre(80, 40000));
    expect(flagsOf(toClient!.frame)).toEqual({ flags: 'R', sequence: 3333 });
    expectIpv4(
      toTarget!.frame,
      destinationIs(HOST1),
      innerIs(sourceIs(CLIENT), destinationIs(VM_A1), portsAre(40000, 8080)),
    );
    expect(flagsOf(toTarget!.frame)).toEqual({ flags: 'R', sequence: 4444 });
  });

  test('a reset is never answered with one, and the flow ends all the same', async () => {
    const under = await established();
    const packets = all(under, fromTarget('RA'));
    expect(packets.map(({ verdict, reason }) => [verdict, reason])).toEqual([['Drop', 'Reset']]);
  });

  test('who comes again with a SYN is served by another target at once', async () => {
    const under = await established();
    all(under, ipPacket(CLIENT, VIP, tcp({ sourcePort: 40000, destinationPort: 80, flags: 'A' })));
    const [first] = all(under, ipPacket(CLIENT, VIP, tcp({ sourcePort: 40000, destinationPort: 80, flags: 'S' })));
    expectIpv4(first!.frame, destinationIs(HOST2), innerIs(destinationIs(VM_A2)));
  });
});

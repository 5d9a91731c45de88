// A SYN on ports that a flow has already: when it joins that flow, and when it opens another (data-plane.md P4, P8, P12).
import { describe, expect, test } from 'vitest';
import { gre, ipPacket, tcp } from '../../../tools/testkit/build.ts';
import { expectIpv4 } from '../../../tools/testkit/expect.ts';
import { Health } from '../layout/index.ts';
import {
  CLIENT,
  HOST1,
  HOST2,
  T1,
  TABLES,
  VIP,
  VM_A1,
  VM_A2,
  director,
  id,
  type DirectorUnderTest,
} from './director-fixture.ts';

const LISTENERS = [
  ['maglev', 200],
  ['wrr', 82],
] as const;
const NAME = { [VM_A1]: 'a1', [VM_A2]: 'a2' } as const;
const HOST = { [VM_A1]: HOST1, [VM_A2]: HOST2 } as const;
type Vm = keyof typeof NAME;

const toVip = (port: number, flags = 'S'): Buffer =>
  ipPacket(CLIENT, VIP, tcp({ sourcePort: 40000, destinationPort: port, flags }));
const reply = (vm: Vm, flags: string): Buffer =>
  ipPacket(HOST[vm], T1, gre(100, ipPacket(vm, CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags }))));
/** Which target a packet of the client goes to. */
const targetOf = ({ receive }: DirectorUnderTest, packet: Buffer, nowMs = 1000): Vm =>
  expectIpv4(receive(packet, nowMs).frame).inner?.destination as Vm;
const otherThan = (vm: Vm): Vm => (vm === VM_A1 ? VM_A2 : VM_A1);
const without = (name: string) => ({
  ...TABLES,
  groups: TABLES.groups.map((group) => ({
    ...group,
    targets: group.targets.filter(({ target }) => target !== id(name)),
  })),
  targets: TABLES.targets.filter(({ id: target }) => target !== id(name)),
});

describe.for(LISTENERS)('%s', ([, port]) => {
  test('a SYN that no target has answered goes to another one when its target is dead', async () => {
    const under = await director();
    const first = targetOf(under, toVip(port));
    expect(targetOf(under, toVip(port), 2000)).toBe(first);
    under.writer.setHealth(id(NAME[first]), Health.Dead);
    expect(targetOf(under, toVip(port), 4000)).toBe(otherThan(first));
    // What belongs to the connection that opens now follows its SYN, although the first target lives again.
    under.writer.setHealth(id(NAME[first]), Health.Alive);
    expect(under.receive(reply(otherThan(first), 'SA'), 4001).verdict).toBe('Forward');
    expect(targetOf(under, toVip(port, 'A'), 4002)).toBe(otherThan(first));
    expect(under.core.counters()).toMatchObject({ flowsCreated: 2 });
  });

  test('a SYN that no target has answered goes to another one when its target was removed, whatever the policy', async () => {
    for (const onRemove of ['run', 'reset'] as const) {
      const under = await director();
      const first = targetOf(under, toVip(port));
      const tables = without(NAME[first]);
      under.apply({ ...tables, listeners: tables.listeners.map((listener) => ({ ...listener, onRemove })) });
      expect(targetOf(under, toVip(port), 2000)).toBe(otherThan(first));
    }
  });

  test('a connection that was answered stays where it is, however its target is called', async () => {
    const under = await director();
    const first = targetOf(under, toVip(port));
    under.receive(reply(first, 'SA'));
    under.writer.setHealth(id(NAME[first]), Health.Dead);
    expect(targetOf(under, toVip(port))).toBe(first);
    expect(targetOf(under, toVip(port, 'A'))).toBe(first);
    expect(under.core.counters()['flowsCreated']).toBe(1);
  });

  test.for([
    ['that was closed by both sides', ['FA', 'FA']],
    ['that the client reset', ['R']],
  ] as const)('a SYN on the ports of a connection %s is scheduled at once', async ([, [last, answer]]) => {
    const under = await director();
    const first = targetOf(under, toVip(port));
    under.receive(reply(first, 'SA'));
    under.receive(toVip(port, 'A'));
    under.receive(toVip(port, last));
    if (answer !== undefined) under.receive(reply(first, answer));
    under.writer.setHealth(id(NAME[first]), Health.Dead);
    expect(targetOf(under, toVip(port), 1001)).toBe(otherThan(first));
    expect(under.receive(reply(otherThan(first), 'SA'), 1002).verdict).toBe('Forward');
    expect(under.core.counters()).toMatchObject({ flowsCreated: 2 });
  });
});

test('a proxy that never started: its client is sent to the other one with the next SYN', async () => {
  const under = await director({ withoutImage: true });
  under.apply({
    ...TABLES,
    groups: TABLES.groups.map((group) =>
      group.id === id('gproxy')
        ? { ...group, targets: ['proxy', 'tun'].map((name) => ({ target: id(name), weight: 1 })) }
        : group,
    ),
  });
  const outer = (): string | undefined => expectIpv4(under.receive(toVip(91)).frame).destination;
  const first = outer();
  expect(outer()).toBe(first);
  under.writer.setHealth(id(first === '10.255.0.41' ? 'tun' : 'proxy'), Health.Dead);
  expect(outer()).not.toBe(first);
});

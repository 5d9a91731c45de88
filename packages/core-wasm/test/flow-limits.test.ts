// How large the flow table gets, what a flow costs, how it is swept and when each state ends (data-plane.md P4, P11, P20).
import { describe, expect, test } from 'vitest';
import { gre, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import { FlowEntry, FlowState, WorkerState, limits } from '../layout/index.ts';
import { planMemory, setFlowTimeouts, type FlowTimeouts } from '../src/index.ts';
import {
  CLIENT,
  CLIENT6,
  HOST1,
  HOST6,
  T1,
  T1V6,
  TABLES,
  VIP,
  VIP6,
  VM_A1,
  director,
  id,
  type DirectorUnderTest,
} from './director-fixture.ts';

const clientOf = (index: number): string => `198.51.${100 + (index >> 14)}.${1 + ((index >> 8) & 63)}`;
const syn = (index: number, port = 80): Buffer =>
  ipPacket(clientOf(index), VIP, tcp({ sourcePort: 1024 + (index & 255), destinationPort: port, flags: 'S' }));
const stateOf = ({ core }: DirectorUnderTest, slot = 0): number =>
  core.bytes[core.worker.flows + slot * FlowEntry.bytes + FlowEntry.at.state] as number;

describe('size', () => {
  test('sixteen million flows fit one memory, and the last ones work like the first', async () => {
    const flows = limits.FLOWS_MAX;
    expect(flows).toBe(2 ** 24 - 1);
    const under = await director({ plan: { flows, fragments: 64, pending: 64 } });
    const { core } = under;
    const state = (name: 'flowFresh' | 'flowCount'): number => core.worker.state + WorkerState.at[name];
    // As if all before them were in use: the table is swept from the front, and these lie behind 2 GiB.
    core.view.setUint32(state('flowFresh'), flows - 3, true);
    core.view.setUint32(core.worker.state + WorkerState.at.evictCursor, flows - 4, true);
    const packets = [0, 1, 2].map((index) => syn(index));
    for (const packet of packets) expect(under.receive(packet).verdict).toBe('Forward');
    expect(core.worker.flows + (flows - 1) * FlowEntry.bytes).toBeGreaterThan(2 ** 31);
    for (let index = 0; index < 3; index++) expect(stateOf(under, flows - 3 + index)).toBe(FlowState.SynSeen);
    const answer = tcp({ sourcePort: 8080, destinationPort: 1026, flags: 'SA' });
    expect(under.receive(ipPacket(HOST1, T1, gre(100, ipPacket(VM_A1, clientOf(2), answer)))).verdict).toBe('Forward');
    expect(stateOf(under, flows - 1)).toBe(FlowState.SynAckSeen);
    for (const packet of packets) under.receive(packet);
    expect(core.counters()).toMatchObject({ flowsActive: 3, flowsCreated: 3 });
    // The fourth finds no entry behind the last one: one that nobody has proved gives way, and its place is used again.
    expect(under.receive(syn(3)).verdict).toBe('Forward');
    expect(core.counters()).toMatchObject({ flowsActive: 3, flowsCreated: 4, flowsEvicted: 1 });
  });

  test('more is refused by the plan', () => {
    expect(() => planMemory({ flows: 2 ** 24 })).toThrow('flows must not exceed 16777215 a worker');
  });

  test('a translated two-way flow of IPv6 is one entry of 128 bytes, and 16 to 32 bytes of index', async () => {
    expect(FlowEntry.bytes).toBe(128);
    const under = await director();
    under.receive(ipPacket(CLIENT6, VIP6, tcp({ destinationPort: 80 })));
    const back = tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' });
    expect(under.receive(ipPacket(HOST6, T1V6, gre(100, ipPacket('fd00:100::2', CLIENT6, back)))).verdict).toBe(
      'Forward',
    );
    const { core } = under;
    expect(core.view.getUint32(core.worker.state + WorkerState.at.flowFresh, true)).toBe(1);
    const index = new Uint32Array(core.bytes.buffer, core.worker.flowIndex, core.worker.flowIndexSlots);
    expect(index.filter((word) => word !== 0).length).toBe(2);
    for (const flows of [1000, 1_048_576, limits.FLOWS_MAX]) {
      const perFlow = (planMemory({ flows }).workers[0]!.flowIndexSlots * 4) / flows;
      expect(perFlow).toBeGreaterThanOrEqual(16);
      expect(perFlow).toBeLessThanOrEqual(33);
    }
  });
});

describe('the sweep', () => {
  test('looks at a limited number of entries a call, and bursts never do', async () => {
    const flows = 3 * limits.EXPIRE_STEP;
    const under = await director({ plan: { flows } });
    for (let index = 0; index < flows; index++) under.receive(syn(index), 1000);
    expect(under.core.counters().flowsActive).toBe(flows);
    const later = 1000 + limits.SYN_SEEN_MS + 1;
    // A known flow, so the burst makes none and needs no entry of another.
    under.receive(syn(0), later);
    expect(under.core.counters()).toMatchObject({ flowsActive: flows, flowsExpired: 0 });
    const ended = [1, 2, 3].map(() => under.core.expireFlows(later));
    expect(ended).toEqual([limits.EXPIRE_STEP - 1, limits.EXPIRE_STEP, limits.EXPIRE_STEP]);
    expect(under.core.counters().flowsActive).toBe(1);
  });

  test('goes on where it stopped, and comes round', async () => {
    const under = await director({ plan: { flows: 2 * limits.EXPIRE_STEP } });
    for (let index = 0; index < limits.EXPIRE_STEP + 10; index++) under.receive(syn(index), 1000);
    expect([16_001, 16_001, 16_001].map((nowMs) => under.core.expireFlows(nowMs))).toEqual([limits.EXPIRE_STEP, 10, 0]);
    under.receive(syn(1), 20_000);
    expect([35_001, 35_001].reduce((sum, nowMs) => sum + under.core.expireFlows(nowMs), 0)).toBe(1);
  });
});

/** Packets that bring the one flow into a state: `>` from the client, `<` from the target. */
const STATES: [keyof FlowTimeouts | 'idle', number, number, string[]][] = [
  ['synSeenMs', FlowState.SynSeen, limits.SYN_SEEN_MS, ['>S']],
  ['synAckSeenMs', FlowState.SynAckSeen, limits.SYN_ACK_SEEN_MS, ['>S', '<SA']],
  ['idle', FlowState.Established, 900_000, ['>S', '<SA', '>A']],
  ['finSeenMs', FlowState.FinSeen, limits.FIN_SEEN_MS, ['>S', '<SA', '>A', '>FA']],
  ['timeWaitMs', FlowState.TimeWait, limits.TIME_WAIT_MS, ['>S', '<SA', '>A', '>FA', '<FA']],
  ['closedMs', FlowState.Closed, limits.CLOSED_MS, ['>S', '<SA', '>A', '<R']],
  ['datagramMs', FlowState.Datagram, limits.DATAGRAM_MS, ['>U']],
  ['idle', FlowState.DatagramReplied, 900_000, ['>U', '<U']],
];
const packetOf = (step: string): Buffer => {
  const flags = step.slice(1);
  const isIn = step.startsWith('>');
  const payload = flags === 'U' ? udp(isIn ? 1024 : 8080, isIn ? 53 : 1024, Buffer.from('x')) : undefined;
  if (isIn) return ipPacket(CLIENT, VIP, payload ?? tcp({ sourcePort: 1024, destinationPort: 80, flags }));
  const reply = payload ?? tcp({ sourcePort: 8080, destinationPort: 1024, flags });
  return ipPacket(HOST1, T1, gre(100, ipPacket(VM_A1, CLIENT, reply)));
};

describe('a flow ends when it was idle for longer than its state allows', () => {
  test.each(STATES)('%s: state %i, %i ms by default', async (name, state, idleMs, steps) => {
    for (const [custom, expected] of [
      [undefined, idleMs],
      [777, name === 'idle' ? idleMs : 777],
    ] as const) {
      const under = await director();
      if (custom !== undefined && name !== 'idle') setFlowTimeouts(under.plan, under.memory, { [name]: custom });
      for (const step of steps) expect(under.receive(packetOf(step), 1000).verdict).toBe('Forward');
      expect(stateOf(under)).toBe(state);
      expect(under.core.expireFlows(1000 + expected)).toBe(0);
      expect(under.core.expireFlows(1001 + expected)).toBe(1);
    }
  });

  test('the idle time of established flows is the listener’s', async () => {
    const under = await director({ withoutImage: true });
    under.apply({
      ...TABLES,
      listeners: TABLES.listeners.map((row) => (row.id === id('l80') ? { ...row, idleSeconds: 5 } : row)),
    });
    for (const step of ['>S', '<SA', '>A']) under.receive(packetOf(step), 1000);
    expect([under.core.expireFlows(6000), under.core.expireFlows(6001)]).toEqual([0, 1]);
  });

  test('of a client whose replies go another way, after its FIN or RST', async () => {
    for (const [flags, custom] of [
      ['FA', undefined],
      ['R', undefined],
      ['FA', 999],
    ] as const) {
      const under = await director();
      if (custom !== undefined) setFlowTimeouts(under.plan, under.memory, { directClosedMs: custom });
      for (const step of ['S', 'A', flags])
        under.receive(ipPacket(CLIENT, VIP, tcp({ sourcePort: 1024, destinationPort: 91, flags: step })), 1000);
      const expected = custom ?? limits.DIRECT_CLOSED_MS;
      expect([under.core.expireFlows(1000 + expected), under.core.expireFlows(1001 + expected)]).toEqual([0, 1]);
    }
  });
});

describe('the hash of the table is secret', () => {
  /** Places in the index of the same 200 flows under one key. */
  async function places(key: number): Promise<number[]> {
    const under = await director({ withoutImage: true });
    const { core } = under;
    core.bytes.fill(key, core.worker.state + WorkerState.at.sipKey0, core.worker.state + WorkerState.at.sipKey0 + 16);
    under.apply(TABLES);
    for (let index = 0; index < 200; index++) under.receive(syn(index));
    const index = new Uint32Array(core.bytes.buffer, core.worker.flowIndex, core.worker.flowIndexSlots);
    return [...index.keys()].filter((at) => index[at] !== 0);
  }

  test('so the places of the same flows follow from the key alone', async () => {
    const [one, again, two] = [await places(7), await places(7), await places(8)];
    expect(again).toEqual(one);
    expect(one.length).toBe(400);
    const shared = one.filter((at) => two.includes(at)).length;
    expect(shared).toBeLessThan(100);
  });

  test('and every director draws its own', async () => {
    const [one, two] = [await director(), await director()];
    const keyOf = ({ core }: DirectorUnderTest): bigint =>
      core.view.getBigUint64(core.worker.state + WorkerState.at.sipKey0, true);
    expect(keyOf(one)).not.toBe(0n);
    expect(keyOf(one)).not.toBe(keyOf(two));
  });
});

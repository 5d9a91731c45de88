// Cluster state between two real cores (data-plane.md P8, P9, P12, P40): what one tells and the other takes over, who wins, what is forgotten.
import { describe, expect, test } from 'vitest';
import { gre, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import { destinationIs, expectIpv4, innerIs, portsAre, sourceIs } from '../../../tools/testkit/expect.ts';
import { FlowFlag, FlowState } from '../layout/index.ts';
import { Core, type DirectorTables, type PlanOptions, SyncTable, type SyncRecord, explain } from '../src/index.ts';
import {
  CLIENT,
  type DirectorUnderTest,
  HOST1,
  HOST2,
  T1,
  TABLES,
  VIP,
  VM_A1,
  VM_A2,
  director,
  id,
  targetSlot,
} from './director-fixture.ts';

type Node = DirectorUnderTest & { table: SyncTable };

const tablesOf = (ordinal: number): DirectorTables => ({ ...TABLES, self: { id: `ld${ordinal}`, ordinal } });

/** `first` is an image that came before: it gives slots in another order. */
async function node(ordinal: number, plan: PlanOptions = {}, first?: DirectorTables): Promise<Node> {
  const made = await director({ artefact: 'shared', withoutImage: true, plan });
  if (first !== undefined) made.apply(first);
  made.apply(tablesOf(ordinal));
  const table = await SyncTable.open(made.plan, made.memory, made.slots);
  table.learnSlots();
  return { ...made, table };
}

const packet = (port: number, flags: string, clientPort = 40_000): Buffer =>
  ipPacket(CLIENT, VIP, tcp({ sourcePort: clientPort, destinationPort: port, flags }));
const reply = (from: string, flags: string, clientPort = 40_000): Buffer =>
  ipPacket(
    from === VM_A1 ? HOST1 : HOST2,
    T1,
    gre(100, ipPacket(from, CLIENT, tcp({ sourcePort: 8080, destinationPort: clientPort, flags }))),
  );

/** A whole handshake; returns the target's address. */
function connect(one: DirectorUnderTest, port: number, nowMs = 1_000, clientPort = 40_000): string {
  one.receive(packet(port, 'S', clientPort), nowMs);
  const slot = targetSlot(one.core, 0);
  const target = slot === one.slots.targets.slotOf(id('a1')) ? VM_A1 : VM_A2;
  one.receive(reply(target, 'SA', clientPort), nowMs);
  one.receive(packet(port, 'A', clientPort), nowMs);
  return target;
}

function told(one: Node, nowMs: number): SyncRecord[] {
  one.table.begin(nowMs);
  return one.table.sweep(0, 0, 10_000).records;
}

function take(one: Node, records: readonly SyncRecord[], nowMs: number): boolean[] {
  one.table.begin(nowMs);
  return records.map((record) => one.table.take(record));
}

describe('what the peers hear of', () => {
  test('a flow is told once it is five seconds old, and not before', async () => {
    const one = await node(1);
    connect(one, 82);
    expect(told(one, 5_900)).toEqual([]);
    const [record, ...more] = told(one, 6_100);
    expect(more).toEqual([]);
    expect(record).toMatchObject({
      isEnd: false,
      clientPort: 40_000,
      state: FlowState.Established,
      epoch: 0,
      ordinal: 1,
    });
    expect(record?.listener).toBe(BigInt(`0x${id('l82')}`));
    expect(told(one, 6_200)).toEqual([]);
  });

  test('half-open flows are never told, whatever their age: a flood costs the peers nothing', async () => {
    const one = await node(1);
    for (let port = 1; port < 50; port++) one.receive(packet(82, 'S', 1_000 + port), 1_000);
    expect(told(one, 9_000)).toEqual([]);
  });

  test('the age is the listener’s, and what nobody could recompute goes at once', async () => {
    const one = await node(1);
    const listeners = TABLES.listeners.map((row) => (row.id === id('l82') ? { ...row, syncAfterSeconds: 0 } : row));
    one.apply({ ...tablesOf(1), listeners });
    connect(one, 82);
    expect(told(one, 1_001)).toHaveLength(1);
    // Full NAT: the target sees a local address, which is in no image.
    one.receive(packet(95, 'S', 50_000), 2_000);
    const seen = one.core.view.getUint16(
      one.core.worker.slab + one.core.view.getUint32(one.core.record(0), true) + 14 + 28 + 20,
      false,
    );
    const address = one.core
      .frame(0)
      .subarray(14 + 28 + 12, 14 + 28 + 16)
      .join('.');
    expect(address.startsWith('100.80.')).toBe(true);
    one.receive(
      ipPacket(
        HOST1,
        T1,
        gre(100, ipPacket(VM_A1, address, tcp({ sourcePort: 8080, destinationPort: seen, flags: 'SA' }))),
      ),
      2_000,
    );
    one.receive(packet(95, 'A', 50_000), 2_000);
    const [record] = told(one, 2_001);
    expect(record).toMatchObject({ seenPort: seen, clientPort: 50_000 });
    expect(record!.flags & FlowFlag.PortRewritten).not.toBe(0);
  });

  test('an active flow is told again every minute, a silent one is not, and its end is told once', async () => {
    const one = await node(1);
    connect(one, 82);
    expect(told(one, 7_000)).toHaveLength(1);
    one.receive(packet(82, 'A'), 30_000);
    expect(told(one, 40_000)).toEqual([]);
    expect(told(one, 67_100)).toHaveLength(1);
    expect(told(one, 200_000)).toEqual([]);
    one.receive(packet(82, 'R'), 200_100);
    expect(told(one, 200_200)).toMatchObject([{ isEnd: true }]);
    expect(told(one, 200_300)).toEqual([]);
  });
});

describe('what a survivor does with it', () => {
  test('a client’s packet goes on to the same target by stable ids, though slots differ', async () => {
    const one = await node(1);
    const only = (rows: DirectorTables['groups']) =>
      rows.filter((row) => row.id === id('gboth')).map((row) => ({ ...row, targets: row.targets.slice(1) }));
    const two = await node(
      2,
      {},
      {
        ...tablesOf(2),
        listeners: TABLES.listeners.filter((row) => row.id === id('l82')),
        groups: only(TABLES.groups),
        targets: TABLES.targets.filter((row) => row.id === id('a2')),
      },
    );
    expect(two.slots.targets.slotOf(id('a1'))).not.toBe(one.slots.targets.slotOf(id('a1')));
    expect(two.slots.listeners.slotOf(id('l82'))).not.toBe(one.slots.listeners.slotOf(id('l82')));
    for (let port = 0; port < 8; port++) connect(one, 82, 1_000, 40_000 + port);
    const wanted = Array.from({ length: 8 }, (_, port) => {
      one.receive(packet(82, 'A', 40_000 + port), 2_000);
      return one.core
        .frame(0)
        .subarray(14 + 28 + 16, 14 + 28 + 20)
        .join('.');
    });
    expect(new Set(wanted)).toEqual(new Set([VM_A1, VM_A2]));
    expect(take(two, told(one, 7_000), 500_000)).toEqual(Array(8).fill(true));
    const got = wanted.map((_, port) => {
      expect(two.receive(packet(82, 'A', 40_000 + port), 500_100).verdict).toBe('Forward');
      return two.core
        .frame(0)
        .subarray(14 + 28 + 16, 14 + 28 + 20)
        .join('.');
    });
    expect(got).toEqual(wanted);
    expect(two.core.counters()).toMatchObject({ flowsPromoted: 8, flowsCreated: 8, flowsActive: 8 });
  });

  test('a reply alone is enough, also where several listeners share the target', async () => {
    const [one, two] = [await node(1), await node(2)];
    const target = connect(one, 82);
    const late = reply(target, 'A');
    expect(two.receive(late).reason).toBe('NoFlow');
    take(two, told(one, 7_000), 7_000);
    expectIpv4(two.receive(late, 7_100).frame, sourceIs(VIP), destinationIs(CLIENT), portsAre(82, 40_000));
    expect(two.core.counters()['flowsPromoted']).toBe(1);
  });

  test('a new SYN is a new connection, whatever the standby table says', async () => {
    const [one, two] = [await node(1), await node(2)];
    connect(one, 82);
    take(two, told(one, 7_000), 7_000);
    expect(two.receive(packet(82, 'S'), 7_100).verdict).toBe('Forward');
    expect(two.core.counters()['flowsPromoted']).toBe(0);
  });

  test('taking over raises the epoch, is told at once, and the old owner gives the flow up', async () => {
    const [one, two] = [await node(1), await node(2)];
    connect(one, 82);
    take(two, told(one, 7_000), 7_000);
    two.receive(packet(82, 'A'), 7_100);
    const announced = told(two, 7_120);
    expect(announced).toMatchObject([{ epoch: 1, ordinal: 2, isEnd: false }]);
    expect(two.table.counters()['rows']).toBe(0);
    expect(take(one, announced, 7_150)).toEqual([true]);
    expect(one.table.counters()).toMatchObject({ yielded: 1, rows: 1 });
    // Not the owner any more: it stays silent while it is, and claims the flow when packets come here again, not before five seconds.
    one.receive(packet(82, 'A'), 8_000);
    expect(told(one, 9_000)).toEqual([]);
    one.receive(packet(82, 'A'), 12_100);
    expect(told(one, 12_200)).toMatchObject([{ epoch: 2, ordinal: 1 }]);
  });

  test('the highest epoch wins, then the highest ordinal, in whatever order records come', async () => {
    const one = await node(1);
    connect(one, 82);
    const [record] = told(one, 7_000);
    for (const order of [
      [0, 1, 2],
      [2, 1, 0],
      [1, 2, 0],
    ]) {
      const claims = [
        { ...record!, epoch: 1, ordinal: 9, target: BigInt(`0x${id('a1')}`) },
        { ...record!, epoch: 2, ordinal: 3, target: BigInt(`0x${id('a1')}`) },
        { ...record!, epoch: 2, ordinal: 4, target: BigInt(`0x${id('a2')}`) },
      ];
      const two = await node(2);
      take(
        two,
        order.map((number) => claims[number]!),
        7_000,
      );
      expectIpv4(two.receive(packet(82, 'A'), 7_100).frame, innerIs(destinationIs(VM_A2)));
      // Neither of the two keys leads to the loser.
      expect(two.table.counters()['rows']).toBe(1);
    }
  });

  test('what has ended is forgotten, unless somebody took it over meanwhile', async () => {
    const [one, two] = [await node(1), await node(2)];
    connect(one, 82);
    const [record] = told(one, 7_000);
    take(two, [record!], 7_000);
    expect(take(two, [{ ...record!, isEnd: true }], 7_100)).toEqual([true]);
    expect(two.receive(packet(82, 'A'), 7_200).reason).toBe('MidFlow');
    take(two, [{ ...record!, epoch: 3, ordinal: 7 }], 7_300);
    expect(take(two, [{ ...record!, isEnd: true }], 7_400)).toEqual([false]);
    expect(two.receive(packet(82, 'A'), 7_500).verdict).toBe('Forward');
  });

  test('a record of a target that was removed is not used, but where flows run on', async () => {
    const one = await node(1);
    const target = connect(one, 82);
    const records = told(one, 7_000);
    const gone = id(target === VM_A1 ? 'a1' : 'a2');
    for (const [onRemove, verdict] of [
      ['run', 'Forward'],
      ['reset', 'Drop'],
    ] as const) {
      const two = await node(2);
      take(two, records, 7_000);
      two.apply({
        ...tablesOf(2),
        targets: TABLES.targets.filter((row) => row.id !== gone),
        groups: TABLES.groups.map((row) => ({
          ...row,
          targets: row.targets.filter(({ target: member }) => member !== gone),
        })),
        listeners: TABLES.listeners.map((row) => ({ ...row, onRemove })),
      });
      expect([onRemove, two.receive(packet(82, 'A'), 7_100).verdict]).toEqual([onRemove, verdict]);
    }
  });

  test('datagrams find their flow again, too', async () => {
    const [one, two] = [await node(1), await node(2)];
    const question = ipPacket(CLIENT, VIP, udp(5_353, 53, Buffer.from('?')));
    one.receive(question, 1_000);
    one.receive(ipPacket(HOST1, T1, gre(100, ipPacket(VM_A1, CLIENT, udp(8080, 5_353, Buffer.from('!'))))), 1_000);
    take(two, told(one, 7_000), 7_000);
    two.receive(question, 7_100);
    expect(two.core.counters()['flowsPromoted']).toBe(1);
  });

  test('explain says that a flow would be taken over, and takes nothing', async () => {
    const [one, two] = [await node(1), await node(2)];
    connect(one, 82);
    take(two, told(one, 7_000), 7_000);
    const explainer = await Core.open({ memory: two.memory, plan: two.plan, worker: 'explainer', artefact: 'trace' });
    const { verdict, steps } = explain(explainer, packet(82, 'A'), 7_100);
    expect(verdict).toBe('Forward');
    expect(steps.find(({ step }) => step === 'track')?.text).toContain('the standby table has it');
    expect(two.core.counters()).toMatchObject({ flowsPromoted: 0, flowsActive: 0 });
  });
});

describe('limits', () => {
  test('rows end with the idle time of their flow, counted from its last packet', async () => {
    const [one, two] = [await node(1), await node(2)];
    connect(one, 82);
    take(two, told(one, 7_000), 7_000);
    const end = 1_000 + 900_000 + 60_000;
    two.table.begin(end - 1_000);
    expect(two.table.expire(4_096)).toBe(0);
    two.table.begin(end + 1_000);
    expect(two.table.expire(4_096)).toBe(1);
    expect(two.receive(packet(82, 'A'), end + 1_000).reason).toBe('MidFlow');
  });

  test('a full table keeps its size, evicts what was silent longest, and finds what it keeps', async () => {
    const [one, two] = [await node(1), await node(2, { standby: 64 })];
    connect(one, 82);
    const [record] = told(one, 7_000);
    const many = Array.from({ length: 1_000 }, (_, number) => ({
      ...record!,
      clientPort: number + 1,
      seenPort: number + 1,
      inboundAgeMs: 2_000 - number,
      outboundAgeMs: 2_000 - number,
    }));
    take(two, many, 10_000);
    const { rows, evicted, stored } = two.table.counters();
    expect([rows, evicted, stored]).toEqual([64, 936, 1_000]);
    const found = many.filter(
      ({ clientPort }) => two.receive(packet(82, 'A', clientPort), 10_100).verdict === 'Forward',
    );
    expect(found).toHaveLength(64);
    expect(found.filter(({ clientPort }) => clientPort > 800).length).toBeGreaterThan(32);
  });

  test('ten thousand records come and go, and every row is found by both keys', async () => {
    const two = await node(2, { standby: 16_384, flows: 16_384 });
    const one = await node(1);
    const target = connect(one, 82);
    const [record] = told(one, 7_000);
    const port = (number: number): SyncRecord => ({ ...record!, clientPort: number, seenPort: number });
    const numbers = Array.from({ length: 10_000 }, (_, index) => index + 1_000);
    take(two, numbers.map(port), 7_000);
    take(
      two,
      numbers.filter((number) => number % 3 === 0).map((number) => ({ ...port(number), isEnd: true })),
      7_000,
    );
    take(two, numbers.filter((number) => number % 6 === 0).map(port), 7_000);
    const isThere = (number: number): boolean => number % 3 !== 0 || number % 6 === 0;
    const wrong = numbers.filter((number) => {
      const outcome =
        number % 2 === 0 ? two.receive(packet(82, 'A', number), 7_100) : two.receive(reply(target, 'A', number), 7_100);
      return (outcome.verdict === 'Forward') !== isThere(number);
    });
    expect(wrong).toEqual([]);
  });

  test('records of listeners that are not here yet wait for their image', async () => {
    const one = await node(1);
    connect(one, 82);
    const records = told(one, 7_000);
    const two = await node(2);
    two.apply({ ...tablesOf(2), listeners: TABLES.listeners.filter((row) => row.id !== id('l82')) });
    const fresh = await SyncTable.open(two.plan, two.memory, two.slots);
    fresh.begin(7_000);
    expect(records.map((record) => fresh.take(record))).toEqual([true]);
    two.apply(tablesOf(2));
    fresh.learnSlots();
    fresh.begin(7_100);
    for (const record of fresh.copyStandby(0, 100).records) fresh.take(record);
    expect(two.receive(packet(82, 'A'), 7_200).verdict).toBe('Forward');
  });
});

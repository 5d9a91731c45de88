// Source ports of full NAT (data-plane.md P18; RFC 5382, 4787): a pool of each target, blocks of each worker, and when a port may be used again.
import { describe, expect, test } from 'vitest';
import { ethernet, gre, ipPacket, tcp } from '../../../tools/testkit/build.ts';
import { destinationIs, expectIpv4, innerIs, sourceIs } from '../../../tools/testkit/expect.ts';
import { parseFrame } from '../../../tools/testkit/parse.ts';
import { TrafficCounter } from '../layout/index.ts';
import { Core } from '../src/index.ts';
import {
  CLIENT,
  CLIENT6,
  DIRECTOR_MAC,
  HOST1,
  SWITCH_MAC,
  T1,
  TABLES,
  VIP,
  VIP6,
  VM_A1,
  director,
  id,
  outcome,
  type DirectorUnderTest,
} from './director-fixture.ts';

const toVip = (
  port: number,
  source: number,
  flags = 'S',
  more: { sequence?: number; timestamp?: number } = {},
): Buffer => ipPacket(CLIENT, VIP, tcp({ sourcePort: source, destinationPort: port, flags, ...more }));

describe('full NAT ports', () => {
  const pooled = async (ports: number): Promise<DirectorUnderTest> => {
    const under = await director({ withoutImage: true });
    under.apply({
      ...TABLES,
      pool: { addresses: 1, firstPort: 2000, ports },
      listeners: [
        ...TABLES.listeners,
        { ...TABLES.listeners[0]!, id: id('l96'), vport: 96, group: id('ga2'), translation: 'fullnat' as const },
      ],
      groups: [...TABLES.groups, { ...TABLES.groups[0]!, id: id('ga2'), targets: [{ target: id('a2'), weight: 1 }] }],
    });
    return under;
  };

  test('a pool belongs to a target: one is exhausted and counted, the other has all of it', async () => {
    const under = await pooled(4);
    const outcomes = Array.from({ length: 8 }, (_, index) => under.receive(toVip(95, 1000 + index)));
    expect(outcomes.filter(({ reason }) => reason === 'PortPool').length).toBe(4);
    const slot = under.slots.targets.slotOf(id('a1')) ?? 0;
    const dropped = under.core.worker.targetCounters + slot * TrafficCounter.bytes + TrafficCounter.at.dropped;
    expect(under.core.view.getBigUint64(dropped, true)).toBe(4n);
    const seen = outcomes.slice(0, 4).map(({ frame }) => expectIpv4(frame).inner?.tcp?.sourcePort);
    expect(seen.toSorted()).toEqual([2000, 2001, 2002, 2003]);
    expect(under.receive(toVip(96, 1)).verdict).toBe('Forward');
  });

  test('a port in TIME_WAIT rests, one that was reset is free at once', async () => {
    const under = await pooled(1);
    const seen = expectIpv4(under.receive(toVip(95, 1000)).frame).inner;
    const reply = (flags: string): Buffer =>
      ipPacket(
        HOST1,
        T1,
        gre(100, ipPacket(VM_A1, seen?.source ?? '', tcp({ sourcePort: 8080, destinationPort: 2000, flags }))),
      );
    for (const packet of [reply('SA'), toVip(95, 1000, 'A'), toVip(95, 1000, 'FA'), reply('FA')]) under.receive(packet);
    expect(under.receive(toVip(95, 1001))).toMatchObject({ reason: 'PortPool' });
    expect(under.core.expireFlows(61_001)).toBe(1);
    expect(under.receive(toVip(95, 1001), 61_002).verdict).toBe('Forward');
    under.receive(toVip(95, 1001, 'R'), 61_003);
    expect(under.receive(toVip(95, 1002), 61_004).verdict).toBe('Forward');
  });

  test('hairpin: a client that is the only target reaches itself by a local address', async () => {
    const under = await director({ withoutImage: true });
    const inner = {
      ...TABLES.listeners[0]!,
      id: id('hair'),
      net: 100,
      vip: '10.0.0.100',
      vport: 80,
      translation: 'fullnat' as const,
    };
    under.apply({
      ...TABLES,
      vips: [...TABLES.vips, { net: 100, address: '10.0.0.100' }],
      listeners: [...TABLES.listeners, inner],
    });
    const out = under.receive(
      ipPacket(HOST1, T1, gre(100, ipPacket(VM_A1, '10.0.0.100', tcp({ destinationPort: 80 })))),
    );
    const seen = expectIpv4(out.frame, destinationIs(HOST1), innerIs(destinationIs(VM_A1))).inner;
    expect(seen?.source).toMatch(/^100\.80\.16\./);
    const back = tcp({ sourcePort: 8080, destinationPort: seen?.tcp?.sourcePort ?? 0, flags: 'SA' });
    const answer = under.receive(ipPacket(HOST1, T1, gre(100, ipPacket(VM_A1, seen?.source ?? '', back))));
    expectIpv4(answer.frame, destinationIs(HOST1), innerIs(sourceIs('10.0.0.100'), destinationIs(VM_A1)));
  });

  describe('of a target in TIME_WAIT, as Linux decides it (RFC 6191)', () => {
    /** A connection of client port 1000 that both ends have closed; the client's FIN has sequence number 5000 and one byte. */
    async function closed(timestamp?: number): Promise<DirectorUnderTest> {
      const under = await pooled(1);
      const seen = expectIpv4(under.receive(toVip(95, 1000, 'S', { sequence: 1000 })).frame).inner?.source ?? '';
      const reply = (flags: string): Buffer =>
        ipPacket(HOST1, T1, gre(100, ipPacket(VM_A1, seen, tcp({ sourcePort: 8080, destinationPort: 2000, flags }))));
      under.receive(reply('SA'));
      for (const [flags, sequence] of [
        ['A', 1001],
        ['FA', 5000],
      ] as const)
        under.receive(toVip(95, 1000, flags, timestamp === undefined ? { sequence } : { sequence, timestamp }));
      under.receive(reply('FA'));
      under.receive(toVip(95, 1000, 'A', timestamp === undefined ? { sequence: 5001 } : { sequence: 5001, timestamp }));
      return under;
    }

    test.each([
      ['a sequence number behind the old connection', undefined, { sequence: 5002 }, 'Forward'],
      ['one that the wrapped number space puts behind it', undefined, { sequence: 0x7fff_0000 }, 'Forward'],
      ['the number that is expected', undefined, { sequence: 5001 }, 'Drop'],
      ['a number before it', undefined, { sequence: 4000 }, 'Drop'],
      ['a number half the space away', undefined, { sequence: 0x9000_0000 }, 'Drop'],
      ['a newer timestamp and a lower number', 700, { sequence: 1, timestamp: 701 }, 'Forward'],
      ['an older timestamp and a higher number', 700, { sequence: 9000, timestamp: 699 }, 'Drop'],
      ['the same timestamp and a higher number', 700, { sequence: 9000, timestamp: 700 }, 'Forward'],
      ['no timestamp any more and a higher number', 700, { sequence: 9000 }, 'Forward'],
      ['a timestamp at last and a lower number', undefined, { sequence: 1, timestamp: 9 }, 'Drop'],
    ] as const)('%s', async (_name, timestamp, opening, verdict) => {
      const under = await closed(timestamp);
      const out = under.receive(toVip(95, 1001, 'S', opening));
      expect(out).toMatchObject(verdict === 'Forward' ? { verdict } : { verdict, reason: 'PortPool' });
      expect(under.core.counters()).toMatchObject({ flowsActive: 1, flowsCreated: verdict === 'Forward' ? 2 : 1 });
    });
  });

  test('workers share the range in blocks of 64: the owner of a port is its block modulo the workers', async () => {
    const workers = 3;
    const under = await director({ withoutImage: true, plan: { workers, flows: 1024 } });
    const tunnels = [0, 1, 2].map((worker) => ({ node: 'ld1', worker, v4: `10.254.1.${worker + 1}` }));
    under.apply({ ...TABLES, tunnels, pool: { addresses: 1, firstPort: 2000, ports: 640 } });
    const given = new Set<number>();
    for (let worker = 0; worker < workers; worker++) {
      const { memory, plan } = under;
      const core = worker === 0 ? under.core : await Core.open({ memory, plan, worker, artefact: 'check' });
      core.adopt();
      const own = new Set<number>();
      const refusals = new Set<string>();
      for (let source = 1; source <= 250; source++) {
        core.inject([ethernet(SWITCH_MAC, DIRECTOR_MAC, toVip(95, source))], 0);
        core.forwardBurst(1, 1000);
        const out = outcome(core, 0);
        if (out.verdict === 'Forward') own.add(parseFrame(out.frame).ip?.inner?.tcp?.sourcePort ?? 0);
        else refusals.add(out.reason);
      }
      for (const port of own) {
        expect(Math.floor(port / 64) % workers).toBe(worker);
        expect(port).toBeGreaterThanOrEqual(2000);
        expect(port).toBeLessThan(2640);
        given.add(port);
      }
      expect([...refusals]).toEqual(['PortPool']);
      expect(own.size).toBeGreaterThan(120);
    }
    expect(given.size).toBeGreaterThan(500);
  });

  test('a worker without a block of its own in a short range gives nothing away', async () => {
    const under = await director({ withoutImage: true, plan: { workers: 2 } });
    under.apply({ ...TABLES, pool: { addresses: 1, firstPort: 64, ports: 64 } });
    expect(under.receive(toVip(95, 1))).toMatchObject({ verdict: 'Drop', reason: 'PortPool' });
  });
});

test('no local address of IPv6 is the probe address of the director, whose answers leave the data path', async () => {
  const under = await director();
  const probe = { v4: '100.64.16.1', v6: 'fd7c:6c63:1::1' };
  const listeners = TABLES.listeners.map((row) =>
    row.vip === VIP6 ? { ...row, translation: 'fullnat' as const } : row,
  );
  under.apply({ ...TABLES, probe, listeners });
  const sources = Array.from({ length: 200 }, (_, index) => {
    const syn = ipPacket(CLIENT6, VIP6, tcp({ sourcePort: 2000 + index, destinationPort: 80 }));
    return parseFrame(under.receive(syn).frame).ip?.inner?.source;
  });
  expect(new Set(sources).size).toBe(16);
  for (const source of sources) expect(source).toMatch(/^fd7c:6c64:1::[0-9a-f]{1,2}$/);
});

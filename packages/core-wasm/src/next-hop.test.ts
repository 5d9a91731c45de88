// Routes and neighbours (data-plane.md P36), asked through the core itself.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ipPacket, tcp } from '../../../tools/testkit/build.ts';
import { director } from '../test/director-fixture.ts';

const mac = (last: number): Uint8Array => Uint8Array.of(2, 0, 0, 0, 1, last);

async function routed() {
  const { core, hops } = await director({ withoutNeighbour: true });
  hops.clearRoutes();
  const to = (destination: string): number | string => {
    core.inject([ipPacket(destination.includes(':') ? 'fd00::9' : '10.9.9.9', destination, tcp())]);
    core.emitBurst(1, 1000);
    return core.verdict(0) === 1 ? (core.frame(0)[5] ?? 0) : core.verdict(0) === 5 ? 'held' : 'dropped';
  };
  return { hops, core, to };
}

describe('next hops', () => {
  test('the longest prefix wins, whatever the order in which routes came', async () => {
    const { hops, to } = await routed();
    for (const [gateway, last] of [
      ['10.1.0.1', 1],
      ['10.1.0.2', 2],
      ['10.1.0.3', 3],
    ] as const)
      hops.setNeighbour(gateway, mac(last), 0);
    hops.setRoute('0.0.0.0', 0, '10.1.0.1', 0);
    hops.setRoute('192.0.2.0', 24, '10.1.0.2', 0);
    hops.setRoute('192.0.2.128', 25, '10.1.0.3', 0);
    expect([to('198.51.100.1'), to('192.0.2.1'), to('192.0.2.129')]).toEqual([1, 2, 3]);
    hops.removeRoute('192.0.2.128', 25);
    expect(to('192.0.2.129')).toBe(2);
  });

  test('the default route of IPv6 never takes IPv4', async () => {
    const { hops, to } = await routed();
    hops.setNeighbour('fd00::1', mac(6), 0);
    hops.setRoute('::', 0, 'fd00::1', 0);
    expect([to('2001:db8::1'), to('192.0.2.1')]).toEqual([6, 'dropped']);
  });

  test('a gateway that is learned, moves and is forgotten again', async () => {
    const { hops, to } = await routed();
    hops.setRoute('0.0.0.0', 0, '10.1.0.1', 0);
    expect(to('192.0.2.1')).toBe('held');
    hops.setNeighbour('10.1.0.1', mac(1), 0);
    expect(to('192.0.2.1')).toBe(1);
    hops.setNeighbour('10.1.0.1', mac(9), 0);
    expect(to('192.0.2.1')).toBe(9);
    hops.removeNeighbour('10.1.0.1');
    expect(to('192.0.2.1')).toBe('held');
  });

  test('what is used is told, so that the kernel’s entry can be kept fresh', async () => {
    const { hops, to } = await routed();
    hops.setRoute('10.1.0.0', 24, null, 0);
    hops.setNeighbour('10.1.0.7', mac(7), 0);
    hops.setNeighbour('10.1.0.8', mac(8), 0);
    expect(to('10.1.0.7')).toBe(7);
    expect(hops.usedNeighbours(1500, 1000).map((address) => address[15])).toEqual([7]);
    expect(hops.usedNeighbours(9000, 1000)).toEqual([]);
  });

  test('any sequence of changes leaves every neighbour on the link findable', async () => {
    const { hops, to } = await routed();
    hops.setRoute('10.1.0.0', 24, null, 0);
    const known = new Map<number, number>();
    fc.assert(
      fc.property(
        fc.array(fc.record({ host: fc.integer({ min: 1, max: 20 }), last: fc.integer({ min: 0, max: 255 }) }), {
          maxLength: 20,
        }),
        (changes) => {
          for (const { host, last } of changes) {
            if (last < 64) {
              known.delete(host);
              hops.removeNeighbour(`10.1.0.${host}`);
            } else {
              known.set(host, last);
              hops.setNeighbour(`10.1.0.${host}`, mac(last), 0);
            }
          }
          for (let host = 1; host <= 20; host++) expect(to(`10.1.0.${host}`)).toBe(known.get(host) ?? 'held');
        },
      ),
      { numRuns: 30 },
    );
  });

  test('more routes than the table has are refused', async () => {
    const { hops } = await routed();
    for (let number = 0; number < 256; number++) hops.setRoute(`10.2.${number}.0`, 24, null, 0);
    expect(() => hops.setRoute('10.3.0.0', 24, null, 0)).toThrow(/More than 256 routes/);
  });
});

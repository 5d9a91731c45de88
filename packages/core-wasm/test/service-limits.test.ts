// Limits of services in the walks (data-plane.md P33): what passes in a virtual time, what is counted, and who is not concerned.
import { describe, expect, test } from 'vitest';
import { gre, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import { CLIENT, HOST1, T1, TABLES, VIP, VM_A1, director, id, type DirectorUnderTest } from './director-fixture.ts';

const PAYLOAD = 972;
/** An IP packet of 1,000 bytes to the UDP listener. */
const datagram = (source = 1000): Buffer => ipPacket(CLIENT, VIP, udp(source, 53, Buffer.alloc(PAYLOAD)));
const syn = (source: number, port = 80): Buffer =>
  ipPacket(CLIENT, VIP, tcp({ sourcePort: source, destinationPort: port, flags: 'S' }));
const ack = (source: number, port = 80): Buffer =>
  ipPacket(CLIENT, VIP, tcp({ sourcePort: source, destinationPort: port, flags: 'A' }));
const L53 = id('l53');
const L80 = id('l80');

/** Verdicts of one packet a step, over a time in milliseconds. */
function offer(
  { receive }: DirectorUnderTest,
  packet: (index: number) => Buffer,
  from: number,
  forMs: number,
  per = 1,
) {
  const reasons: Record<string, number> = {};
  for (let now = from; now < from + forMs; now++)
    for (let index = 0; index < per; index++) {
      const { reason } = receive(packet(now * per + index), now);
      reasons[reason] = (reasons[reason] ?? 0) + 1;
    }
  return reasons;
}

describe('a limited service', () => {
  test('lets pass its packet rate and one burst, and no packet more, whatever the clock does at its end', async () => {
    const under = await director();
    under.writer.meters.limit(L53, { packetsPerSecond: 300, packetBurst: 10 });
    const reasons = offer(under, () => datagram(), 0xffff_ff00, 2000);
    // 10 at once, then 300 a second over 1.999 s.
    expect(reasons).toEqual({ None: 609, LimitPackets: 1391 });
    expect(under.writer.meters.counters(L53)).toMatchObject({
      offeredPackets: 2000,
      refusedPackets: 1391,
      refusedBits: 0,
    });
  });

  test('lets pass its bits and one burst, counted by the IP packets', async () => {
    const under = await director();
    under.writer.meters.limit(L53, { bitsPerSecond: 800_000, bitBurst: 80_000 });
    const reasons = offer(under, () => datagram(), 1000, 3000);
    // 10 packets of 8,000 bits at once, then 100 a second over 2.999 s.
    expect(reasons).toEqual({ None: 309, LimitBits: 2691 });
  });

  test('lets pass so many new flows, and all packets of the flows that it has', async () => {
    const under = await director();
    under.writer.meters.limit(L80, { connectionsPerSecond: 50, connectionBurst: 5 });
    const reasons = offer(under, (index) => syn((index % 60_000) + 1), 1000, 1000);
    expect(reasons).toEqual({ None: 54, LimitConnections: 946 });
    expect(offer(under, () => ack(1001), 2000, 100)).toEqual({ None: 100 });
    expect(under.writer.meters.counters(L80)).toMatchObject({ offeredConnections: 1000, refusedConnections: 946 });
  });

  test('counts both directions: replies take tokens of the same meter', async () => {
    const under = await director();
    under.receive(syn(7), 1000);
    under.writer.meters.limit(L80, { packetsPerSecond: 100, packetBurst: 20 });
    const reply = ipPacket(
      HOST1,
      T1,
      gre(100, ipPacket(VM_A1, CLIENT, tcp({ sourcePort: 8080, destinationPort: 7, flags: 'SA' }))),
    );
    const seen = Array.from({ length: 30 }, (_, index) => under.receive(index % 2 === 0 ? reply : ack(7), 2000).reason);
    expect(seen.filter((reason) => reason === 'None')).toHaveLength(20);
    expect(seen.slice(20)).toEqual(Array.from({ length: 10 }, () => 'LimitPackets'));
  });

  test('takes nothing from its neighbours', async () => {
    const under = await director();
    under.writer.meters.limit(L53, { packetsPerSecond: 0 });
    expect(under.receive(datagram()).reason).toBe('LimitPackets');
    for (let source = 1; source < 200; source++) expect(under.receive(syn(source)).reason).toBe('None');
    expect(under.writer.meters.counters(L80)).toMatchObject({ offeredPackets: 0 });
  });

  test('is free again at once when its limits are taken off, and stays limited over images while they are not', async () => {
    const under = await director();
    under.writer.meters.limit(L53, { packetsPerSecond: 0 });
    under.apply(TABLES);
    under.apply(TABLES);
    expect(under.receive(datagram()).reason).toBe('LimitPackets');
    under.writer.meters.limit(L53, null);
    expect(under.receive(datagram()).reason).toBe('None');
    under.apply(TABLES);
    expect(under.receive(datagram()).reason).toBe('None');
  });

  test('is one over all its VIPs: rows of one name share a meter', async () => {
    const under = await director();
    const listeners = TABLES.listeners.map((row) => ([L53, L80].includes(row.id) ? { ...row, name: 'shop' } : row));
    under.apply({ ...TABLES, listeners });
    under.writer.meters.limit('shop', { packetsPerSecond: 100, packetBurst: 10 });
    const seen = Array.from({ length: 40 }, (_, index) =>
      under.receive(index % 2 === 0 ? datagram() : syn(index), 1000),
    );
    expect(seen.filter(({ reason }) => reason === 'None')).toHaveLength(10);
    expect(under.writer.meters.counters('shop')).toMatchObject({ offeredPackets: 40, refusedPackets: 30 });
  });

  test('shares add up: workers get equal parts of the part of this director', async () => {
    const under = await director({ plan: { workers: 2 } });
    under.writer.meters.limit(L53, { packetsPerSecond: 1000, packetBurst: 40 }, 0.5);
    expect(offer(under, () => datagram(), 1000, 1001, 2)['None']).toBe(10 + 250);
  });

  test('the release core says the same as the checked one', async () => {
    const seen = await Promise.all(
      (['plain', 'check'] as const).map(async (artefact) => {
        const under = await director({ artefact });
        offer(under, () => datagram(), 500, 10);
        under.writer.meters.limit(L53, { packetsPerSecond: 300, packetBurst: 10 });
        return offer(under, () => datagram(), 1000, 500);
      }),
    );
    expect(seen[0]).toEqual(seen[1]);
    expect(seen[0]).toEqual({ None: 159, LimitPackets: 341 });
  });

  test('every packet that it refuses is one drop of the core', async () => {
    const under = await director();
    under.writer.meters.limit(L53, { packetsPerSecond: 100, packetBurst: 1 });
    offer(under, () => datagram(), 1000, 500);
    const counters = under.core.counters();
    expect(counters['reason.LimitPackets']).toBe(counters.dropped);
    expect(counters['received']).toBe(Number(counters['forwarded']) + Number(counters['dropped']));
  });
});

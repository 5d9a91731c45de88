// Frames that no honest peer sends: valid ones of every kind that a port meets, with bits flipped, bytes cut, lengths lied about.
// Seeded, so that a failure can be repeated.
import { ethernet, gre, ipPacket, tcp, udp } from '../tools/testkit/index.ts';

const STRANGE_MAC = '0a:00:00:00:77:77';

export interface Aim {
  /** Link address of whoever receives the frames. */
  mac: string;
  /** Addresses that its port listens to: a VIP, its tunnel or underlay address, a VM. */
  destinations: readonly string[];
  /** Outer sources that it trusts. */
  sources: readonly string[];
}

/** mulberry32: small, seeded, good enough to spoil bytes. */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

export function garbage({ mac, destinations, sources }: Aim, count: number, seed: number): Buffer[] {
  const random = randomOf(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const one = <T>(list: readonly T[]): T => list[below(list.length)] as T;
  const transport = () =>
    one([
      tcp({
        sourcePort: below(65536),
        destinationPort: one([80, 8080]),
        flags: one(['S', 'A', 'SA', 'F', 'R', 'SFRPAU', '']),
        mss: below(65536),
      }),
      udp(below(65536), one([53, 8080, 48784]), Buffer.alloc(below(64), 7)),
      { protocol: below(256), bytes: Buffer.alloc(below(80), 0x41) },
    ]);
  const packet = (): Buffer => {
    const inner = ipPacket(
      '198.51.100.10',
      one(['10.0.0.2', '10.0.0.3', '203.0.113.10', '203.0.113.40']),
      transport(),
      below(3) * 32,
    );
    const inner6 = ipPacket('2001:db8:51::10', one(['fd00:100::2', '2001:db8:113::10']), transport());
    const v4 = destinations.filter((address) => !address.includes(':'));
    return one([
      () => ipPacket('198.51.100.10', one(v4), transport()),
      () => ipPacket(one(sources), one(v4), gre(one([0, 100, 200, 999, 0xffffff01]), one([inner, inner6]))),
      () => ipPacket(one(sources), one(v4), { protocol: one([4, 41]), bytes: one([inner, inner6]) }),
      () => ipPacket('2001:db8:51::10', one(['2001:db8:113::10', 'fd00:255:1::2']), transport()),
    ])();
  };
  return Array.from({ length: count }, () => {
    const frame = ethernet(STRANGE_MAC, one([mac, mac, mac, 'ff:ff:ff:ff:ff:ff']), packet());
    for (let flips = below(6); flips > 0; flips--) frame.writeUInt8(below(256), below(frame.length));
    const cut = random() < 0.3 ? frame.subarray(0, 14 + below(frame.length - 14)) : frame;
    return random() < 0.1 ? Buffer.concat([cut, Buffer.alloc(below(400), below(256))]) : cut;
  });
}

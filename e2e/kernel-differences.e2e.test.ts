// The same packets through a director's core and through the Linux kernel's NAT (nftables in a namespace): fragments, ICMP errors, ports.
// Each case gives the same datagrams at both ends, or it stands in docs/reference/kernel-differences.md under its name, with the reason.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { director, TABLES, id, type DirectorUnderTest } from '../packages/core-wasm/test/director-fixture.ts';
import {
  burstOf,
  fragmentOf,
  fragmentsOf,
  plainPackets,
  reassemble,
  refreshIpv4,
} from '../packages/core-wasm/test/fragments.ts';
import { ethernet, ipPacket, tcp, udp } from '../tools/testkit/build.ts';
import { createNetwork, namespaceName, removeNetwork, startCapture } from '../tools/testkit/index.ts';
import type { Capture, Network } from '../tools/testkit/index.ts';
import { sum } from '../tools/testkit/parse.ts';
import { openRawSocket, type RawSocket } from './raw-socket.ts';
import { inNamespaces } from './suite.ts';

const CLIENT = '198.51.100.1';
const VIP = '203.0.113.10';
const TARGET = '10.255.0.43';
const ROUTER = '192.0.2.1';
const MAC = {
  out: '02:0e:00:00:00:01',
  gateOut: '02:0e:00:00:00:02',
  gateIn: '02:0e:00:00:00:03',
  in: '02:0e:00:00:00:04',
};
const RULES = `table ip nat {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    iifname "g0" ip daddr ${VIP} udp dport 54 dnat to ${TARGET}:8080
    iifname "g0" ip daddr ${VIP} tcp dport 94 dnat to ${TARGET}:8080
  }
  chain postrouting { type nat hook postrouting priority srcnat; }
}`;
const PAGE = readFileSync(new URL('../docs/reference/kernel-differences.md', import.meta.url), 'utf8');

type Side = 'out' | 'in';
interface Step {
  readonly from: Side;
  readonly packet: Buffer;
}
/** What arrived at each side, put together; one line a datagram, whatever the order of its fragments. */
type Outcome = Record<Side, string[]>;

const bytes = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, index) => (index * 5) & 255));
const fromClient = (packet: Buffer): Step => ({ from: 'out', packet });
const fromTarget = (packet: Buffer): Step => ({ from: 'in', packet });
const ask = (port: number, length = 40): Buffer => ipPacket(CLIENT, VIP, udp(port, 54, bytes(length)));
const answer = (port: number, length = 40): Buffer => ipPacket(TARGET, CLIENT, udp(8080, port, bytes(length)));
const segment = (port: number, flags: string, payload: Buffer = Buffer.alloc(0), sequence = 1): Buffer =>
  ipPacket(CLIENT, VIP, tcp({ sourcePort: port, destinationPort: 94, flags, payload, sequence }));
const back = (port: number, flags: string): Buffer =>
  ipPacket(TARGET, CLIENT, tcp({ sourcePort: 8080, destinationPort: port, flags, acknowledgement: 2, sequence: 100 }));

function icmpError(type: number, code: number, mtu: number, quoted: Buffer): { protocol: number; bytes: Buffer } {
  const message = Buffer.concat([Buffer.from([type, code, 0, 0, 0, 0, mtu >> 8, mtu & 255]), quoted]);
  message.writeUInt16BE(~sum(message) & 0xffff, 2);
  return { protocol: 1, bytes: message };
}
const sentByTarget = (port: number): Buffer =>
  ipPacket(VIP, CLIENT, tcp({ sourcePort: 94, destinationPort: port, flags: 'A', sequence: 101, acknowledgement: 2 }));
const handshake = (port: number): Step[] => [
  fromClient(segment(port, 'S')),
  fromTarget(back(port, 'SA')),
  fromClient(segment(port, 'A')),
];
const cutAt = [0, 504, 1000];

const SAME: [string, Step[]][] = [
  ['a datagram and its answer', [fromClient(ask(1001)), fromTarget(answer(1001))]],
  ['a TCP handshake', handshake(1002)],
  ['the middle of a connection that began elsewhere', [fromClient(segment(1003, 'A', bytes(10)))]],
  ['fragments in order', fragmentsOf(ask(1004, 1400), cutAt).map(fromClient)],
  ['fragments, the first last', fragmentsOf(ask(1005, 1400), cutAt, 5).reverse().map(fromClient)],
  [
    'fragments and a duplicate',
    [0, 1, 1, 2].map((index) => fromClient(fragmentsOf(ask(1006, 1400), cutAt, 6)[index]!)),
  ],
  [
    'a TCP segment in fragments',
    [...handshake(1007), ...fragmentsOf(segment(1007, 'A', bytes(1400)), cutAt, 7).map(fromClient)],
  ],
  ['an answer in fragments', [fromClient(ask(1008)), ...fragmentsOf(answer(1008, 1400), cutAt, 8).map(fromTarget)]],
  [
    'overlapping fragments',
    [
      fragmentOf(ask(1009, 1400), 0, 504, false, 9),
      fragmentOf(ask(1009, 1400), 400, 600, false, 9),
      fragmentOf(ask(1009, 1400), 1000, 408, true, 9),
    ].map(fromClient),
  ],
  [
    'port unreachable of the target',
    [
      fromClient(ask(1010)),
      fromTarget(
        ipPacket(TARGET, CLIENT, icmpError(3, 3, 0, ipPacket(CLIENT, TARGET, udp(1010, 8080, bytes(40)), 63))),
      ),
    ],
  ],
  [
    'fragmentation needed on the way to the client',
    [...handshake(1011), fromClient(ipPacket(ROUTER, VIP, icmpError(3, 4, 1400, sentByTarget(1011))))],
  ],
  [
    'fragmentation needed, with eight quoted bytes',
    [...handshake(1012), fromClient(ipPacket(ROUTER, VIP, icmpError(3, 4, 1400, sentByTarget(1012).subarray(0, 28))))],
  ],
  [
    'time exceeded on the way to the client',
    [...handshake(1013), fromClient(ipPacket(ROUTER, VIP, icmpError(11, 0, 0, sentByTarget(1013))))],
  ],
  ['a reset', [...handshake(1014), fromClient(segment(1014, 'R', Buffer.alloc(0), 2))]],
];

const withoutChecksum = (packet: Buffer): Buffer => {
  const copy = Buffer.from(packet);
  copy.writeUInt16BE(0, 26);
  return copy;
};
const withRoute = (packet: Buffer): Buffer => {
  const copy = Buffer.concat([packet.subarray(0, 20), Buffer.from([7, 7, 4, 0, 0, 0, 0, 0]), packet.subarray(20)]);
  copy.writeUInt8(0x47, 0);
  copy.writeUInt16BE(copy.length, 2);
  return refreshIpv4(copy);
};
SAME.push(['a datagram without a checksum', [fromClient(withoutChecksum(ask(1015)))]]);

const DIFFERENT: [string, Step[]][] = [
  ['resets outside the window', [...handshake(1106), fromClient(segment(1106, 'R', Buffer.alloc(0), 0x7fffffff))]],
  [
    'tiny first fragments',
    [
      fromClient(fragmentOf(segment(1101, 'S', bytes(64)), 0, 16, false, 11)),
      fromClient(fragmentOf(segment(1101, 'S', bytes(64)), 16, 68, true, 11)),
    ],
  ],
  ['hops that run out', [fromClient(ipPacket(CLIENT, VIP, udp(1102, 54, bytes(10)), 1))]],
  ['errors about unknown flows', [fromClient(ipPacket(ROUTER, VIP, icmpError(3, 4, 1400, sentByTarget(1103))))]],
  ['record route', [fromClient(withRoute(ask(1104)))]],
  [
    'wrong transport checksums',
    [fromClient(Buffer.concat([ask(1105).subarray(0, 60), Buffer.from([1, 2, 3, 4, 5, 6, 7, 8])]))],
  ],
];

/** Datagrams of a list of packets: fragments are put together by identification; what lacks a part is nothing to a receiver. */
function datagrams(packets: readonly Buffer[]): string[] {
  const found: string[] = [];
  const parts = new Map<number, Buffer[]>();
  for (const packet of packets) {
    if ((packet.readUInt16BE(6) & 0x3fff) === 0) found.push(packet.toString('hex'));
    else parts.set(packet.readUInt16BE(4), [...(parts.get(packet.readUInt16BE(4)) ?? []), packet]);
  }
  for (const pieces of parts.values()) {
    try {
      found.push(JSON.stringify(reassemble(pieces)));
    } catch {
      // A hole: the receiver waits and forgets.
    }
  }
  return found;
}

async function throughCore(steps: readonly Step[]): Promise<Outcome> {
  const under: DirectorUnderTest = await director({ withoutImage: true });
  under.apply({
    ...TABLES,
    listeners: [
      ...TABLES.listeners,
      { ...TABLES.listeners[0]!, id: id('u54'), vport: 54, protocol: 17, group: id('gnat') },
    ],
  });
  const seen: Record<Side, Buffer[]> = { in: [], out: [] };
  for (const { packet } of steps)
    for (const left of plainPackets(burstOf(under, [packet])))
      seen[left.subarray(16, 20).join('.') === TARGET ? 'in' : 'out'].push(left);
  return { in: datagrams(seen.in), out: datagrams(seen.out) };
}

await inNamespaces('e2e/kernel-differences.e2e.test.ts', () => {
  const why =
    spawnSync('nft', ['--version']).error === undefined
      ? undefined
      : 'the command `nft` is missing: apt-get install nftables';
  let network: Network;
  const sockets = {} as Record<Side, RawSocket>;
  const captures = {} as Record<Side, Capture>;

  beforeAll(() => {
    if (why !== undefined) return;
    network = createNetwork(
      {
        namespaces: [
          { name: 'out', commands: [] },
          {
            name: 'gate',
            sysctls: { 'ipv4.ip_forward': '1' },
            commands: [
              'addr add 10.1.0.1/24 dev g0',
              'addr add 10.2.0.1/24 dev g1',
              `neigh replace 10.1.0.254 lladdr ${MAC.out} dev g0`,
              `neigh replace 10.2.0.254 lladdr ${MAC.in} dev g1`,
              'route add default via 10.1.0.254 dev g0',
              `route add ${TARGET}/32 via 10.2.0.254 dev g1`,
            ],
          },
          { name: 'in', commands: [] },
        ],
        links: [
          {
            a: { namespace: 'out', device: 'o0', mac: MAC.out },
            b: { namespace: 'gate', device: 'g0', mac: MAC.gateOut },
            mtu: 1500,
          },
          {
            a: { namespace: 'gate', device: 'g1', mac: MAC.gateIn },
            b: { namespace: 'in', device: 'i0', mac: MAC.in },
            mtu: 1500,
          },
        ],
      },
      'kdiff',
    );
    execFileSync('ip', ['netns', 'exec', namespaceName(network, 'gate'), 'nft', '-f', '-'], { input: RULES });
    for (const [side, device] of [
      ['out', 'o0'],
      ['in', 'i0'],
    ] as const) {
      sockets[side] = openRawSocket(network, side, device);
      captures[side] = startCapture(network, side, device, side);
    }
  });

  afterAll(() => {
    for (const side of ['out', 'in'] as const) {
      sockets[side]?.close();
      captures[side]?.stop();
    }
    if (network !== undefined) removeNetwork(network);
  });

  async function throughKernel(steps: readonly Step[]): Promise<Outcome> {
    const before = { out: captures.out.frames().length, in: captures.in.frames().length };
    for (const { from, packet } of steps) {
      const [source, destination] = from === 'out' ? [MAC.out, MAC.gateOut] : [MAC.in, MAC.gateIn];
      sockets[from].send(ethernet(source, destination, packet));
      await sleep(10);
    }
    await sleep(100);
    const taken = (side: Side): string[] =>
      datagrams(
        captures[side]
          .frames()
          .slice(before[side])
          .filter(({ frame }) => frame.destinationMac === MAC[side] && frame.ip?.version === 4)
          .map(({ bytes: frame }) => frame.subarray(14, 14 + frame.readUInt16BE(16))),
      );
    return { out: taken('out'), in: taken('in') };
  }

  describe('a director and the kernel do the same with', () => {
    test.for(SAME)('%s', async ([, steps], context) => {
      context.skip(why !== undefined, why);
      expect(await throughCore(steps)).toEqual(await throughKernel(steps));
    });
  });

  describe('a director and the kernel differ, and the reference says why, in', () => {
    test.for(DIFFERENT)('%s', async ([name, steps], context) => {
      context.skip(why !== undefined, why);
      expect(PAGE).toContain(`## ${name[0]!.toUpperCase()}${name.slice(1)}`);
      expect(await throughCore(steps)).not.toEqual(await throughKernel(steps));
    });
  });
});

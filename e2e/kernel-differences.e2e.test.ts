// The same packets through a director's core and through the Linux kernel's NAT (nftables in a namespace): destination, source and full NAT,
// both families, fragments, ICMP errors, what is too big.
// Each case gives the same datagrams at both ends, or it stands in docs/reference/kernel-differences.md under its name, with the reason.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ANYCAST, HOST2, TABLES, director, id } from '../packages/core-wasm/test/director-fixture.ts';
import { burstOf, plainPackets, reassemble } from '../packages/core-wasm/test/fragments.ts';
import { ethernet, gre, ipPacket } from '../tools/testkit/build.ts';
import { createNetwork, namespaceName, removeNetwork, startCapture } from '../tools/testkit/index.ts';
import type { Capture, Network } from '../tools/testkit/index.ts';
import { parseIp } from '../tools/testkit/parse.ts';
import {
  ANSWERED,
  CLIENT,
  CLIENT6,
  DIFFERENT,
  EIP,
  FULL,
  LOCAL,
  NARROW,
  NARROW6,
  NARROW_MTU,
  SAME,
  TARGET,
  TARGET6,
  VIP,
  VIP6,
  VM,
  localPort,
  type Side,
  type Step,
} from './kernel-cases.ts';
import { openRawSocket, type RawSocket } from './raw-socket.ts';
import { inNamespaces } from './suite.ts';

const MAC = {
  out: '02:0e:00:00:00:01',
  gateOut: '02:0e:00:00:00:02',
  gateIn: '02:0e:00:00:00:03',
  in: '02:0e:00:00:00:04',
};
const full = ['udp', 'tcp'].flatMap((protocol) =>
  FULL.map(
    (vport) =>
      `    meta l4proto ${protocol} ct original proto-dst ${vport} ip saddr ${CLIENT} snat to ${LOCAL}:${localPort(vport)}`,
  ),
);
const RULES = `table ip nat {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    iifname "g0" ip daddr ${VIP} udp dport 54 dnat to ${TARGET}:8080
    iifname "g0" ip daddr ${VIP} tcp dport 94 dnat to ${TARGET}:8080
    iifname "g0" ip daddr ${VIP} udp dport 154 dnat to ${NARROW}:8080
    iifname "g0" ip daddr ${VIP} udp dport ${FULL[0]}-${FULL.at(-1)} dnat to ${TARGET}:8080
    iifname "g0" ip daddr ${VIP} tcp dport ${FULL[0]}-${FULL.at(-1)} dnat to ${TARGET}:8080
    iifname "g0" ip daddr ${EIP} dnat to ${VM}
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "g0" ip saddr ${VM} snat to ${EIP}
${full.join('\n')}
  }
}
table ip6 nat {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    iifname "g0" ip6 daddr ${VIP6} udp dport 54 dnat to [${TARGET6}]:8080
    iifname "g0" ip6 daddr ${VIP6} tcp dport 94 dnat to [${TARGET6}]:8080
    iifname "g0" ip6 daddr ${VIP6} udp dport 154 dnat to [${NARROW6}]:8080
  }
  chain postrouting { type nat hook postrouting priority srcnat; }
}`;
const PAGE = readFileSync(new URL('../docs/reference/kernel-differences.md', import.meta.url), 'utf8');

/** What arrived at each side, put together; one line a datagram, whatever the order of its fragments. */
type Outcome = Record<Side, string[]>;

const isV6 = (packet: Buffer): boolean => packet.readUInt8(0) >> 4 === 6;
const isFragment = (packet: Buffer): boolean =>
  isV6(packet) ? packet.readUInt8(6) === 44 : (packet.readUInt16BE(6) & 0x3fff) !== 0;
const identificationOf = (packet: Buffer): number => (isV6(packet) ? packet.readUInt32BE(44) : packet.readUInt16BE(4));

/** Datagrams of a list of packets: fragments are put together by identification; what lacks a part is nothing to a receiver. */
function datagrams(packets: readonly Buffer[]): string[] {
  const found: string[] = [];
  const parts = new Map<number, Buffer[]>();
  for (const packet of packets) {
    if (!isFragment(packet)) found.push(packet.toString('hex'));
    else parts.set(identificationOf(packet), [...(parts.get(identificationOf(packet)) ?? []), packet]);
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

const base = TABLES.listeners[0]!;
const plain = TABLES.targets.find((target) => target.encapsulation === 'none')!;
const listener = (name: string, vip: string, vport: number, protocol: number, group: string) => ({
  ...base,
  id: id(name),
  vip,
  vport,
  protocol,
  group: id(group),
});
const group = (name: string, target: string) => ({
  ...TABLES.groups[0]!,
  id: id(name),
  targets: [{ target: id(target), weight: 1 }],
});
const KERNEL_TABLES = {
  ...TABLES,
  listeners: [
    ...TABLES.listeners,
    listener('u54', VIP, 54, 17, 'gnat'),
    listener('u154', VIP, 154, 17, 'gslim'),
    listener('u546', VIP6, 54, 17, 'gnat6'),
    listener('t946', VIP6, 94, 6, 'gnat6'),
    listener('u1546', VIP6, 154, 17, 'gslim6'),
    ...FULL.flatMap((vport) =>
      [17, 6].map((protocol) => ({
        ...listener(`f${vport}${protocol}`, VIP, vport, protocol, 'gnat'),
        translation: 'fullnat' as const,
      })),
    ),
  ],
  groups: [...TABLES.groups, group('gnat6', 'nat6'), group('gslim', 'slim'), group('gslim6', 'slim6')],
  targets: [
    ...TABLES.targets,
    { ...plain, id: id('nat6'), address: TARGET6 },
    { ...plain, id: id('slim'), address: NARROW },
    { ...plain, id: id('slim6'), address: NARROW6 },
  ],
};

/** A director like the gate between the two sides; only a VM with an EIP is behind a tunnel, which is taken off and put on here. */
async function throughCore(steps: readonly Step[]): Promise<Record<Side, Buffer[]>> {
  const under = await director({ withoutImage: true });
  const vport = FULL.find((port) => port === steps[0]?.packet.readUInt16BE(22)) ?? FULL[0];
  under.apply({ ...KERNEL_TABLES, pool: { addresses: 1, firstPort: localPort(vport), ports: 1 } });
  under.hops.setRoute('10.255.1.0', 24, '10.1.0.254', 0, NARROW_MTU);
  under.hops.setRoute('fd00:255:1::', 64, 'fd00:1::fe', 0, NARROW_MTU);
  const seen: Record<Side, Buffer[]> = { in: [], out: [] };
  for (const { packet } of steps) {
    const isVm = !isV6(packet) && packet.subarray(12, 16).join('.') === VM;
    const sent = isVm ? ipPacket(HOST2, ANYCAST, gre(100, packet)) : packet;
    for (const left of plainPackets(burstOf(under, [sent]))) {
      const isTunnelled = !isV6(left) && left.readUInt8(9) === 47;
      const bare = isTunnelled ? left.subarray(28) : left;
      const to = parseIp(bare, isV6(bare) ? 0x86dd : 0x0800)?.destination;
      seen[to === CLIENT || to === CLIENT6 ? 'out' : 'in'].push(bare);
    }
  }
  return seen;
}

const together = (seen: Record<Side, Buffer[]>): Outcome => ({ in: datagrams(seen.in), out: datagrams(seen.out) });

/** An error that came back, without what differs by design: its source, TOS, identification, TTL, and how much it quotes. */
function errorOf(packets: readonly Buffer[]) {
  const [packet] = packets;
  if (packets.length !== 1 || packet === undefined) throw new Error(`${packets.length} packets instead of one error`);
  const header = isV6(packet) ? 40 : 20;
  const quoted = packet.subarray(header + 8);
  return {
    isTrue: parseIp(packet, isV6(packet) ? 0x86dd : 0x0800)?.icmp?.isChecksumValid,
    type: packet.readUInt8(header),
    code: packet.readUInt8(header + 1),
    mtu: packet.readUInt32BE(header + 4),
    quoted: quoted.subarray(0, header + 8).toString('hex'),
  };
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
            sysctls: { 'ipv4.ip_forward': '1', 'ipv6.conf.all.forwarding': '1' },
            commands: [
              'addr add 10.1.0.1/24 dev g0',
              'addr add 10.2.0.1/24 dev g1',
              `neigh replace 10.1.0.254 lladdr ${MAC.out} dev g0`,
              `neigh replace 10.2.0.254 lladdr ${MAC.in} dev g1`,
              'route add default via 10.1.0.254 dev g0',
              `route add ${TARGET}/32 via 10.2.0.254 dev g1`,
              `route add ${VM}/32 via 10.2.0.254 dev g1`,
              `route add ${NARROW}/32 via 10.2.0.254 dev g1 mtu lock ${NARROW_MTU}`,
              'addr add fd00:1::1/64 dev g0 nodad',
              'addr add fd00:2::1/64 dev g1 nodad',
              `neigh replace fd00:1::fe lladdr ${MAC.out} dev g0`,
              `neigh replace fd00:2::fe lladdr ${MAC.in} dev g1`,
              'route add default via fd00:1::fe dev g0',
              `route add ${TARGET6}/128 via fd00:2::fe dev g1`,
              `route add ${NARROW6}/128 via fd00:2::fe dev g1 mtu lock ${NARROW_MTU}`,
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

  async function throughKernel(steps: readonly Step[]): Promise<Record<Side, Buffer[]>> {
    const before = { out: captures.out.frames().length, in: captures.in.frames().length };
    for (const { from, packet } of steps) {
      const [source, destination] = from === 'out' ? [MAC.out, MAC.gateOut] : [MAC.in, MAC.gateIn];
      sockets[from].send(ethernet(source, destination, packet));
      await sleep(10);
    }
    await sleep(100);
    const taken = (side: Side): Buffer[] =>
      captures[side]
        .frames()
        .slice(before[side])
        .filter(({ frame }) => frame.destinationMac === MAC[side] && frame.ip !== undefined)
        .map(({ bytes: frame, frame: { ip } }) => frame.subarray(14, 14 + (ip?.totalLength ?? 0)));
    return { out: taken('out'), in: taken('in') };
  }

  describe('a director and the kernel do the same with', () => {
    test.for(SAME)('%s', async ([, steps], context) => {
      context.skip(why !== undefined, why);
      const core = together(await throughCore(steps));
      expect(core).toEqual(together(await throughKernel(steps)));
    });
  });

  describe('a director and the kernel differ, and the reference says why, in', () => {
    test.for(DIFFERENT)('%s', async ([name, steps], context) => {
      context.skip(why !== undefined, why);
      expect(PAGE).toContain(`## ${name[0]!.toUpperCase()}${name.slice(1)}`);
      expect(together(await throughCore(steps))).not.toEqual(together(await throughKernel(steps)));
    });
  });

  describe('a director and the kernel answer with the same error to', () => {
    test.for(ANSWERED)('%s', async ([, step], context) => {
      context.skip(why !== undefined, why);
      const core = await throughCore([step]);
      const kernel = await throughKernel([step]);
      expect([core.in, kernel.in]).toEqual([[], []]);
      expect(errorOf(core.out)).toEqual(errorOf(kernel.out));
    });
  });
});

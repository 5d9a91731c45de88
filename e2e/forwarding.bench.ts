// Packets per second and bytes per second of a director against the kernel's own nftables DNAT of the same traffic.
//
// Packets: each contestant is a namespace on a veth pair of its own, crossed twice: in from the client, out to the server, which are both at
// the far end, because a director has one uplink. A generator floods 60-byte UDP frames of 1,000 flows for a second (sendmmsg, one thread,
// pinned to CPU 1 where taskset is installed); what comes back is counted by the far device's own counters. The kernel is measured
// with its packets steered to CPU 0 (RPS) and without, and the better of both in a round is the peer. Rounds alternate; a ratio is the
// median of the rounds' ratios. `sent` in the note is what the generator offered: where it equals the value, the generator was the limit.
// Stream: one TCP connection through the demo's topology, client → switch → node → host → VM and back the same way, all offloads off
// on every device; the director translates and encapsulates (DNAT × GRE, endpoint on the host), the kernel translates and routes.
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DirectorImage } from '@openclb/model';
import type { Row } from '../tools/bench/row.ts';
import { createNetwork, namespaceName, removeNetwork, startIn, waitReady } from '../tools/testkit/index.ts';
import type { Network, Running } from '../tools/testkit/index.ts';
import type { Flood } from './bench/flood.ts';
import {
  loadNote,
  median,
  missing,
  printRows,
  ratioRow,
  reasonOf,
  rounds,
  translateByKernel,
  whereNamespaces,
} from './bench/method.ts';
import { streamRows } from './bench/stream.ts';

const ROUNDS = 5;
const FLOOD_MS = 1_000;
const ANSWER_MS_MAX = 15_000;
const VPORT = 53;
const VIP = { none: '203.0.113.10', gre: '203.0.113.11' } as const;

/** Who forwards. `rps` is the kernel with its receive work moved to CPU 0. */
const NODES = ['nft', 'rps', 'packet', 'xdp'] as const;
type NodeName = (typeof NODES)[number];
type Contestant = `${'packet' | 'xdp'} ${'none' | 'gre'}` | 'nft' | 'rps';

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const node = (name: string, ...words: string[]): string[] => [
  process.execPath,
  '--conditions=@openclb/source',
  script(name),
  ...words,
];
const hasTaskset = spawnSync('taskset', ['-V']).status === 0;
const macOf = (index: number): string => `0a:00:00:0b:00:0${index}`;

export const run = (): Promise<readonly Row[]> =>
  whereNamespaces(import.meta.filename, 'forwarding', async () => [...(await packetRows()), ...(await streamRows())]);

async function packetRows(): Promise<Row[]> {
  const load = loadavg()[0] ?? 0;
  const network = bringUp();
  try {
    const rows: Row[] = [];
    const contestants: Contestant[] = [];
    for (const [index, name] of NODES.entries()) {
      try {
        contestants.push(...(await startNode(network, name, index)));
      } catch (error) {
        rows.push(missing(`small UDP by ${name}`, reasonOf(error)));
      }
    }
    const generator = await startGenerator(network);
    const sent = new Map<Contestant, number[]>();
    const values = await rounds(contestants, ROUNDS, async (contestant) => {
      const { received, sent: offered, ms } = await generator(orderOf(contestant));
      sent.set(contestant, [...(sent.get(contestant) ?? []), offered / ms]);
      return received / ms;
    });
    return [...rows, ...rowsOf(values, sent, load)];
  } finally {
    removeNetwork(network);
  }
}

function bringUp(): Network {
  const network = createNetwork(
    {
      namespaces: [
        // What comes back is counted by the device and then dropped at once; ARP is answered as ever.
        {
          name: 'far',
          commands: [
            'rule add pref 100 lookup local',
            'rule del pref 0 lookup local',
            ...NODES.flatMap((_, index) => [
              `addr add 10.9.${index}.2/24 dev wire${index}`,
              `addr add 10.9.${index}.3/24 dev wire${index}`,
              `rule add pref 1 iif wire${index} ipproto udp blackhole`,
              `rule add pref 2 iif wire${index} ipproto gre blackhole`,
            ]),
          ],
        },
        ...NODES.map((name, index) => ({
          name,
          sysctls: {
            'ipv4.ip_forward': '1',
            'ipv4.conf.all.send_redirects': '0',
            'ipv4.conf.default.send_redirects': '0',
          },
          commands: [
            `addr add 10.9.${index}.1/24 dev eth0`,
            // Clients are behind the far end.
            `route add default via 10.9.${index}.2`,
          ],
        })),
      ],
      links: NODES.map((name, index) => ({
        a: { namespace: 'far', device: `wire${index}` },
        b: { namespace: name, device: 'eth0', mac: macOf(index) },
        mtu: 1600,
      })),
    },
    'fwd',
  );
  return network;
}

async function startNode(network: Network, name: NodeName, index: number): Promise<Contestant[]> {
  if (name === 'packet' || name === 'xdp') {
    const file = join(network.directory, `${name}.json`);
    writeFileSync(file, JSON.stringify(imageOf(index)));
    await waitReady(startIn(network, name, name, node('./bench/forwarder.ts', 'eth0', name, file)));
    return [`${name} none`, `${name} gre`];
  }
  translateByKernel(network, name, `ip daddr ${VIP.none} udp dport ${VPORT}`, `10.9.${index}.2:5300`);
  const steer = 'echo 1 > /sys/class/net/eth0/queues/rx-0/rps_cpus';
  const inside = ['netns', 'exec', namespaceName(network, name)];
  if (name === 'rps') execFileSync('ip', [...inside, 'sh', '-c', steer], { stdio: ['ignore', 'ignore', 'pipe'] });
  return [name];
}

const ID = { none: 'a', gre: 'b' } as const;
const id = (kind: string, which: keyof typeof ID): string => `00000000000000${kind}${ID[which]}`;

function imageOf(index: number): DirectorImage {
  const kinds = ['none', 'gre'] as const;
  return {
    role: 'director',
    generation: { revision: 1, compiler: 1 },
    self: { id: 'bench', ordinal: 1, underlay: { v4: `10.9.${index}.1` } },
    tunnels: [{ node: 'bench', worker: 0, v4: '10.254.1.1' }],
    anycast: { v4: '10.254.0.1' },
    probe: { v4: '100.64.16.1' },
    vips: kinds.map((kind) => ({ net: 0, address: VIP[kind] })),
    listeners: kinds.map((kind) => ({
      id: id('a', kind),
      name: kind,
      loadBalancer: `lb-${kind}`,
      net: 0,
      vip: VIP[kind],
      vport: VPORT,
      protocol: 17,
      translation: 'dnat',
      scheduler: 'maglev',
      group: id('b', kind),
      directReturn: false,
      idleSeconds: 300,
      onRemove: 'run',
    })),
    groups: kinds.map((kind) => ({
      id: id('b', kind),
      name: kind,
      slots: 4093,
      targets: [{ target: id('c', kind), weight: 10 }],
      check: { type: 'none', intervalMs: 2000, timeoutMs: 1000, healthyThreshold: 2, unhealthyThreshold: 2 },
    })),
    targets: kinds.map((kind) => ({
      id: id('c', kind),
      name: kind,
      net: kind === 'gre' ? 100 : 0,
      address: kind === 'gre' ? '10.0.0.2' : `10.9.${index}.2`,
      port: 5300,
      encapsulation: kind,
      host: kind === 'gre' ? id('d', kind) : null,
    })),
    hosts: [{ id: id('d', 'gre'), name: 'far', v4: `10.9.${index}.3` }],
    eips: [],
    trusted: [],
  };
}

function orderOf(contestant: Contestant): string {
  const [name = '', kind = 'none'] = contestant.split(' ') as [NodeName, ('none' | 'gre')?];
  const index = NODES.indexOf(name as NodeName);
  return `wire${index} ${macOf(index)} ${VIP[kind]} ${VPORT} ${FLOOD_MS}`;
}

async function startGenerator(network: Network): Promise<(order: string) => Promise<Flood>> {
  const pin = hasTaskset ? ['taskset', '-c', '1'] : [];
  const running: Running = startIn(network, 'far', 'flood', [...pin, ...node('./bench/flood.ts')], { pipes: true });
  const { stdin, stdout } = running.child;
  if (!stdin || !stdout) throw new Error('the generator has no pipes');
  let text = '';
  let onLine: (() => void) | undefined;
  stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    if (text.includes('\n')) onLine?.();
  });
  return async (order) => {
    text = '';
    const answered = Promise.withResolvers<void>();
    onLine = answered.resolve;
    const timer = setTimeout(() => answered.reject(new Error(`the generator is silent`)), ANSWER_MS_MAX);
    stdin.write(`${order}\n`);
    await answered.promise.finally(() => clearTimeout(timer));
    return JSON.parse(text) as Flood;
  };
}

function rowsOf(values: Map<Contestant, number[]>, sent: Map<Contestant, number[]>, load: number): Row[] {
  const [plain = [], moved = []] = [values.get('nft'), values.get('rps')];
  const best = (plain.length > 0 ? plain : moved).map((value, round) => Math.max(value, moved[round] ?? 0));
  return [...values].map(([contestant, own]) => {
    const note = `sent ${median(sent.get(contestant) ?? []).toFixed(0)}; ${loadNote(load)}`;
    const [name, kind] = contestant.split(' ');
    if (kind === undefined) {
      const how = name === 'rps' ? ', received on CPU 0 (RPS)' : '';
      return ratioRow(`small UDP, DNAT by nftables${how}`, 'kpackets/s', own, best, 'best of nftables', note);
    }
    const what = `small UDP, director by ${name}, DNAT × ${kind}`;
    return ratioRow(what, 'kpackets/s', own, best, 'best of nftables', note);
  });
}

if (import.meta.main) await printRows(run);

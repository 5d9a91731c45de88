// What the story looks at: the wire at the switch, the next-hop routes there, and the counters of the directors' kernels.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { askIp, checksumFault, readInside, startCapture } from '../../../tools/testkit/index.ts';
import type { Capture, IpLayer, Network } from '../../../tools/testkit/index.ts';
import { NODES } from './topology.ts';

export type NodeName = keyof typeof NODES;

export interface Seen {
  node: NodeName;
  /** True when the node sent the frame, false when the switch sent it to the node. */
  isFromNode: boolean;
  ip: IpLayer;
}

export interface Watch {
  /** All IP packets so far on the links of the watched nodes. */
  seen(): Seen[];
  /** Stops the captures; every checksum of every packet has been verified. */
  stop(): { seen: Seen[]; files: string[]; faults: string[] };
}

/** Frames are taken at the switch's end of each link: an ordinary kernel device that nothing of ours touches. */
export function watchNodes(network: Network, nodes: readonly NodeName[], name: string): Watch {
  const captures = nodes.map((node): [NodeName, Capture] => [
    node,
    startCapture(network, 'switch', node, `${name}-${node}`),
  ]);
  const read = (from: (capture: Capture) => ReturnType<Capture['frames']>): Seen[] =>
    captures.flatMap(([node, capture]) =>
      from(capture).flatMap(({ frame }) =>
        frame.ip ? [{ node, isFromNode: frame.sourceMac === NODES[node].mac, ip: frame.ip }] : [],
      ),
    );
  return {
    seen: () => read((capture) => capture.frames()),
    stop: () => {
      const seen = read((capture) => capture.stop());
      const faults = seen.flatMap(({ ip, node }) =>
        checksumFault(ip) === undefined ? [] : [`${node}: ${checksumFault(ip)}`],
      );
      return { seen, files: captures.map(([, capture]) => capture.file), faults };
    },
  };
}

/** Every capture file that the run has written so far. */
export const captureFiles = (network: Network): string[] =>
  readdirSync(network.directory)
    .filter((name) => name.endsWith('.pcap'))
    .map((name) => join(network.directory, name));

/** IP packets that reached a namespace's own stack, both families; stays flat while AF_XDP takes them before it. */
export function kernelReceives(network: Network, namespace: string): number {
  const [names = '', values = ''] = readInside(network, namespace, '/proc/net/snmp')
    .split('\n')
    .filter((line) => line.startsWith('Ip:'));
  const v6 = /^Ip6InReceives\s+(\d+)/m.exec(readInside(network, namespace, '/proc/net/snmp6'));
  return Number(values.split(' ')[names.split(' ').indexOf('InReceives')]) + Number(v6?.[1]);
}

/** Counts by key, for proofs: 'vm-a1 150, vm-a2 450'. */
export function tally(keys: readonly string[]): { counts: Record<string, number>; text: string } {
  const counts: Record<string, number> = {};
  for (const key of keys) counts[key] = (counts[key] ?? 0) + 1;
  const text = Object.entries(counts)
    .sort(([left], [right]) => left.localeCompare(right))
    .map(([key, count]) => `${key} ${count}`)
    .join(', ');
  return { counts, text: text || 'nothing' };
}

const ROUTE_WAIT_MS = 5000;

/** Gateways of an address in the switch's routing table, as the announcer wrote them. */
export function gatewaysOf(network: Network, address: string): string[] {
  const text = askIp(network, 'switch', ...(address.includes(':') ? ['-6'] : []), '-j', 'route', 'show', address);
  const routes = JSON.parse(text || '[]') as { gateway?: string; nexthops?: { gateway?: string }[] }[];
  return routes
    .flatMap(({ gateway, nexthops }) => [gateway, ...(nexthops ?? []).map((hop) => hop.gateway)])
    .filter((hop) => hop !== undefined);
}

/** Waits until the switch routes the address to this many directors; false when it never does. Nobody here writes a route. */
export async function routed(
  network: Network,
  address: string,
  directors: number,
  milliseconds = ROUTE_WAIT_MS,
): Promise<boolean> {
  const end = performance.now() + milliseconds;
  while (gatewaysOf(network, address).length !== directors) {
    if (performance.now() > end) return false;
    await sleep(20);
  }
  return true;
}

/** Polls until the question is answered with true, or time is up. */
export async function until(
  question: () => Promise<boolean> | boolean,
  milliseconds: number,
  everyMs = 100,
): Promise<boolean> {
  const end = performance.now() + milliseconds;
  for (;;) {
    if (await question()) return true;
    if (performance.now() > end) return false;
    await sleep(everyMs);
  }
}

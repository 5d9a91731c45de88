// BIRD on the switch of the demo's network: the other end that judges what directors announce, and a clock on its routes.
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NODES } from '../apps/demo/src/topology.ts';
import { namespaceName, startIn } from '../tools/testkit/index.ts';
import type { Network, Running } from '../tools/testkit/index.ts';

export type Routing = 'bgp' | 'ospf';

const DIRECTORS = ['ld1', 'ld2'] as const;
const below = (v4: string): string => v4.replace(/\d+$/, (last) => String(Number(last) - 1));
const gateway6 = (v6: string): string => v6.replace(/2$/, '1');

/** What each director is told on its command line. */
export function announceWords(routing: Routing): Record<string, readonly string[]> {
  return Object.fromEntries(
    DIRECTORS.map((name) => [
      name,
      routing === 'bgp'
        ? ['--bgp', `65000@${below(NODES[name].v4)},65000@${gateway6(NODES[name].v6)}`]
        : ['--ospf', 'eth0', '--bfd', 'off'],
    ]),
  );
}

/** Starts BIRD as the access switch of both directors. */
export function startSwitchBird(network: Network, routing: Routing): Running {
  const config = join(network.directory, `switch-${routing}.conf`);
  writeFileSync(config, switchConfig(routing));
  const socket = join(network.directory, `switch-${routing}.ctl`);
  return startIn(network, 'switch', `bird-${routing}`, ['/usr/sbin/bird', '-f', '-c', config, '-s', socket]);
}

function switchConfig(routing: Routing): string {
  const bgp = DIRECTORS.flatMap((name) =>
    [
      [below(NODES[name].v4), NODES[name].v4, 4],
      [gateway6(NODES[name].v6), NODES[name].v6, 6],
    ].map(
      ([own, peer, family]) =>
        `protocol bgp ${name}_${family} { local ${own} as 65000; neighbor ${peer} as 65001; hold time 3; keepalive time 1; connect delay time 1; error wait time 1, 5; bfd on; ipv${family} { import all; export none; }; }`,
    ),
  );
  const ospf = [4, 6].map(
    (family) =>
      `protocol ospf v${family === 4 ? 2 : 3} o${family} { ecmp yes; merge external yes; ipv${family} { import all; export none; }; area 0 { ${DIRECTORS.map((name) => `interface "${name}" { hello 1; dead 4; wait 4; retransmit 2; };`).join(' ')} }; }`,
  );
  return [
    'log stderr all;',
    'router id 10.255.255.255;',
    'protocol device {}',
    'protocol bfd { interface "*" { interval 100 ms; multiplier 3; }; }',
    ...[4, 6].map((family) => `protocol kernel { ipv${family} { import none; export all; }; merge paths on; }`),
    ...(routing === 'bgp' ? bgp : ospf),
    '',
  ].join('\n');
}

export interface RouteClock {
  /** When the kernel's route of the address last became one for these gateways, in ms since 1970; undefined: not since the clock was started. */
  at(address: string, gateways: readonly string[]): number | undefined;
  stop(): void;
}

/** Listens to the switch's kernel, which says when each of its routes changes. */
export function watchRoutes(network: Network): RouteClock {
  const words = ['netns', 'exec', namespaceName(network, 'switch'), 'ip', '-ts', '-o', 'monitor', 'route'];
  const child = spawn('ip', words, { stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, TZ: 'UTC' } });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return {
    at(address, gateways) {
      const line = text.split('\n').findLast((one) => one.includes(` ${address} `) && !one.includes('Deleted'));
      if (line === undefined) return undefined;
      const hops = [...line.matchAll(/via (?:inet6? )?(\S+)/g)].map(([, hop = '']) => hop);
      if (hops.toSorted().join() !== gateways.toSorted().join()) return undefined;
      const stamp = /^\[(\S+)\]/.exec(line)?.[1];
      return stamp === undefined ? undefined : Date.parse(`${stamp}Z`);
    },
    stop: () => void child.kill(),
  };
}

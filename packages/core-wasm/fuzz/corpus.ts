// The kept corpus: one line an input, `verdict reason port = hex`, the input that first reached that verdict and reason. `=` says that a
// fresh instance treats it so, `~` that it needs what came before it. Of nat64 the port is the number of the configuration, of tcp the
// reason is the tool.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { nameOf, reasonEnum, verdictEnum } from '../layout/index.ts';
import { DirectorWorld } from './director-world.ts';
import { EndpointWorld, type World } from './endpoint-world.ts';
import type { First } from './campaign.ts';
import { nat64OutcomeOf } from './nat64-campaign.ts';
import { newInput } from './rig.ts';
import { tcpOutcomeOf } from './tcp-campaign.ts';

const folder = new URL('./corpus/', import.meta.url);
const fileOf = (walk: string): URL => new URL(`${walk}.txt`, folder);

export interface Kept {
  readonly verdict: string;
  readonly reason: string;
  readonly port: number;
  readonly isAlone: boolean;
  readonly bytes: Uint8Array;
}

export async function keepCorpus(walk: string, firsts: readonly First[]): Promise<void> {
  const lines: string[] = [];
  const sorted = [...firsts].sort((a, b) => (`${a.verdict} ${a.reason}` < `${b.verdict} ${b.reason}` ? -1 : 1));
  for (const { verdict, reason, port, bytes } of sorted) {
    const isAlone = (await aloneOf(walk, reason, port, bytes)) === `${verdict} ${reason}`;
    lines.push(`${verdict} ${reason} ${port} ${isAlone ? '=' : '~'} ${Buffer.from(bytes).toString('hex') || '-'}`);
  }
  mkdirSync(folder, { recursive: true });
  writeFileSync(fileOf(walk), `${lines.join('\n')}\n`);
}

/** Verdict and reason of an input that nothing came before. */
export async function aloneOf(walk: string, reason: string, port: number, bytes: Uint8Array): Promise<string> {
  if (walk === 'nat64') return nat64OutcomeOf(port, bytes);
  if (walk === 'tcp') return `${await tcpOutcomeOf(reason, bytes)} ${reason}`;
  return outcomeOf(await worldOf(walk), port, bytes);
}

export function readCorpus(walk: string): Kept[] {
  const lines = readFileSync(fileOf(walk), 'utf8').split('\n').filter(Boolean);
  return lines.map((line) => {
    const [verdict = '', reason = '', port = '0', mark, hex = ''] = line.split(' ');
    return {
      verdict,
      reason,
      port: Number(port),
      isAlone: mark === '=',
      bytes: Buffer.from(hex === '-' ? '' : hex, 'hex'),
    };
  });
}

/** A world with one checking instance. */
export async function worldOf(walk: string): Promise<World> {
  const world: World = walk === 'director' ? new DirectorWorld() : await EndpointWorld.create();
  await world.open('check', 1, 0xa5);
  return world;
}

/** Verdict and reason of one input, invariants asked. */
export async function outcomeOf(world: World, port: number, bytes: Uint8Array): Promise<string> {
  const rig = world.rigs[0];
  if (rig === undefined) throw new Error('The world has no instance');
  const input = newInput();
  input.bytes.set(bytes);
  input.length = bytes.length;
  input.port = port;
  rig.place(0, input);
  const records = rig.run(1, 1000);
  for (let index = 0; index < records; index++) rig.checkRecord(index, 1);
  rig.checkGuards(1, true);
  rig.checkCounters();
  return `${nameOf(verdictEnum, rig.core.verdict(0))} ${nameOf(reasonEnum, rig.core.reason(0))}`;
}

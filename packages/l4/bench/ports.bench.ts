// Frames per second through one veth pair and back out of it (hairpin in the core, MACs swapped), one kind of port after the other.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The median of these is taken; the rounds alternate, so that all kinds see the same machine. */
const ROUNDS = 5;
const KINDS = ['packet', 'xdp', 'tun'] as const;

interface Row {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  readonly ratio?: number;
  readonly peer?: string;
  readonly note?: string;
}

interface Result {
  readonly perSecond: number;
  readonly perCpuSecond: number;
  readonly detail: string;
}

/** Every kind in a process and a network namespace of its own, in alternating rounds; `packet` is the peer: every machine has it. */
export async function run(): Promise<readonly Row[]> {
  const results = new Map<string, Result[]>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const kind of KINDS) {
      const result = measure(kind);
      if (typeof result === 'string') console.log(`not measured: ${kind}: ${result}`);
      else results.set(kind, [...(results.get(kind) ?? []), result]);
    }
  }
  return [...rowsOf(results, 'perSecond', 'kframes/s'), ...rowsOf(results, 'perCpuSecond', 'kframes per CPU second')];
}

function measure(kind: string): Result | string {
  const words = ['--conditions=@openclb/source', fileURLToPath(new URL('hairpin.ts', import.meta.url)), kind];
  const child = spawnSync(process.execPath, words, { encoding: 'utf8', timeout: 60_000 });
  if (child.status === 0) return JSON.parse(child.stdout) as Result;
  return child.stderr.split('\n').find((line) => line.includes('Error')) ?? 'no reason given';
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}

function rowsOf(results: ReadonlyMap<string, Result[]>, field: 'perSecond' | 'perCpuSecond', unit: string): Row[] {
  const valueOf = (kind: string): number => median((results.get(kind) ?? []).map((result) => result[field]));
  const peer = valueOf('packet');
  return [...results].map(([kind, rounds]) => ({
    what: `hairpin through ${kind}`,
    value: valueOf(kind) / 1000,
    unit,
    ...(peer === 0 || kind === 'packet' ? {} : { ratio: valueOf(kind) / peer, peer: 'packet' }),
    note: `${rounds[0]?.detail}, 60-byte UDP, 1,000 flows${field === 'perCpuSecond' ? ', CPU of the worker thread' : ''}`,
  }));
}

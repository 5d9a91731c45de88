// Frames per second through one veth pair and back out of it (hairpin in the core, MACs swapped), one kind of port after the other.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

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

/** Every kind in a process and a network namespace of its own; `packet` is the peer, because every machine has it. */
export async function run(): Promise<readonly Row[]> {
  const results = new Map<string, Result>();
  for (const kind of KINDS) {
    const child = spawnSync(
      process.execPath,
      ['--conditions=@openclb/source', fileURLToPath(new URL('hairpin.ts', import.meta.url)), kind],
      { encoding: 'utf8', timeout: 60_000 },
    );
    if (child.status === 0) results.set(kind, JSON.parse(child.stdout) as Result);
    else console.log(`not measured: ${kind}: ${child.stderr.trim().split('\n').at(-1) ?? 'no reason given'}`);
  }
  return [...rowsOf(results, 'perSecond', 'kframes/s'), ...rowsOf(results, 'perCpuSecond', 'kframes per CPU second')];
}

function rowsOf(results: ReadonlyMap<string, Result>, field: 'perSecond' | 'perCpuSecond', unit: string): Row[] {
  const peer = results.get('packet')?.[field];
  return [...results].map(([kind, result]) => ({
    what: `hairpin through ${kind}`,
    value: result[field] / 1000,
    unit,
    ...(peer === undefined || kind === 'packet' ? {} : { ratio: result[field] / peer, peer: 'packet' }),
    note: `${result.detail}, 60-byte UDP, 1,000 flows${field === 'perCpuSecond' ? ', CPU of the worker thread' : ''}`,
  }));
}

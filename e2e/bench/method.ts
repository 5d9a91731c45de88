// What the e2e benches share: rounds that alternate, medians of ratios, and a run inside a user namespace where there is no root.
import { execFileSync, spawn } from 'node:child_process';
import { namespaceName, needsUserNamespace, whyNoNamespaces, wrapForNamespaces } from '../../tools/testkit/index.ts';
import type { Network } from '../../tools/testkit/index.ts';
import type { Row } from '../../tools/bench/row.ts';

/** A whole bench inside a user namespace; it is ended when it takes longer. */
const CHILD_MS_MAX = 300_000;
const MARK = 'rows of the bench: ';

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[half] ?? 0) : ((sorted[half - 1] ?? 0) + (sorted[half] ?? 0)) / 2;
}

/** A row instead of a crash. */
export const missing = (what: string, why: string): Row => ({ what, value: 0, unit: '', note: `not measured: ${why}` });

export const reasonOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n').slice(0, 3).join(' ');

/** How busy the machine was with other things: a figure of a busy machine is not worth much. */
export const loadNote = (from: number): string => `load average ${from.toFixed(1)} at the start`;

/** Measures every contestant once a round, in an order that turns round; values by contestant, one a round. */
export async function rounds<T extends string>(
  names: readonly T[],
  count: number,
  measure: (name: T) => Promise<number>,
): Promise<Map<T, number[]>> {
  const values = new Map<T, number[]>(names.map((name) => [name, []]));
  for (let round = 0; round < count; round++) {
    const order = round % 2 === 0 ? names : names.toReversed();
    for (const name of order) values.get(name)?.push(await measure(name));
  }
  return values;
}

/** The row of one contestant: its median, and the median of its ratios to the peer of the same round. */
export function ratioRow(
  what: string,
  unit: string,
  own: readonly number[],
  peer: readonly number[],
  peerName: string,
  note: string,
): Row {
  const ratios = own.map((value, round) => value / (peer[round] ?? Number.NaN));
  const spread = `rounds ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`;
  const isComparable = ratios.every(Number.isFinite);
  return {
    what,
    value: median(own),
    unit,
    ...(isComparable ? { ratio: median(ratios), peer: `${peerName} ${median(peer).toPrecision(3)}` } : {}),
    note: isComparable ? `${spread}; ${note}` : note,
  };
}

/** The kernel's own DNAT in a namespace: `match` is of nftables, `to` is address:port. */
export function translateByKernel(network: Network, namespace: string, match: string, to: string): void {
  const chain = ['type nat hook prerouting priority dstnat', `${match} dnat to ${to}`].join('\n');
  const words = ['netns', 'exec', namespaceName(network, namespace), 'nft', '-f', '-'];
  try {
    execFileSync('ip', words, {
      input: `table ip nat {\nchain pre {\n${chain}\n}\n}\n`,
      stdio: ['pipe', 'ignore', 'pipe'],
    });
  } catch (error) {
    throw new Error(`nftables is needed (apt-get install nftables): ${reasonOf(error)}`, { cause: error });
  }
}

/** Runs `measure` where namespaces can be made: here, in a child inside a user namespace, or not at all. */
export async function whereNamespaces(
  file: string,
  what: string,
  measure: () => Promise<readonly Row[]>,
): Promise<readonly Row[]> {
  const why = whyNoNamespaces();
  if (why !== undefined) return [missing(what, why)];
  try {
    return needsUserNamespace() ? await inChild(file) : await measure();
  } catch (error) {
    return [missing(what, reasonOf(error))];
  }
}

/** The end of a bench file: prints its rows when it is the program, which is how it runs inside a user namespace. */
export async function printRows(run: () => Promise<readonly Row[]>): Promise<void> {
  console.log(`${MARK}${JSON.stringify(await run())}`);
}

function inChild(file: string): Promise<readonly Row[]> {
  const { argv, env } = wrapForNamespaces([process.execPath, ...process.execArgv, file]);
  const [command = '', ...words] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(command, words, { env, stdio: ['ignore', 'pipe', 'inherit'] });
    const timer = setTimeout(() => child.kill('SIGTERM'), CHILD_MS_MAX);
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    child.on('error', reject);
    child.on('close', (status) => {
      clearTimeout(timer);
      const line = text.split('\n').find((each) => each.startsWith(MARK));
      if (line === undefined) reject(new Error(`the run inside a user namespace ended with status ${status}`));
      else resolve(JSON.parse(line.slice(MARK.length)) as Row[]);
    });
  });
}

// Talks to a client process that stands in a namespace: orders go in, outcomes come back.
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { startIn, waitReady } from '../../../tools/testkit/index.ts';
import type { Network, Running } from '../../../tools/testkit/index.ts';
import type { Command, HttpOrder, Order, Outcome } from './client.ts';
import { BROKEN_PORT } from './topology.ts';
import type { VmAnswer } from './vm.ts';

export interface Agent {
  running: Running;
  /** Runs the orders, `concurrency` at a time, without any retry. */
  run(orders: Order[], options?: { concurrency?: number; paceMs?: number }): Promise<Outcome[]>;
  /** One HTTP request. */
  get(address: string, options?: Partial<HttpOrder>): Promise<Outcome>;
}

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export async function startAgent(network: Network, namespace: string): Promise<Agent> {
  const running = startIn(network, namespace, `client-in-${namespace}`, [process.execPath, script('./client.ts')], {
    pipes: true,
  });
  await waitReady(running);
  const waiting = new Map<number, { resolve: (outcomes: Outcome[]) => void; reject: (error: Error) => void }>();
  running.child.once('exit', () =>
    waiting.forEach(({ reject }) => reject(new Error(`the client in ${namespace} ended`))),
  );
  const { stdin, stdout } = running.child;
  if (!stdin || !stdout) throw new Error('the client has no pipes');
  createInterface({ input: stdout }).on('line', (line) => {
    const { id, outcomes } = JSON.parse(line) as { id: number; outcomes: Outcome[] };
    waiting.get(id)?.resolve(outcomes);
    waiting.delete(id);
  });
  let lastId = 0;
  const run: Agent['run'] = (orders, options = {}) => {
    const command: Command = {
      id: ++lastId,
      orders,
      concurrency: options.concurrency ?? 16,
      ...(options.paceMs ? { paceMs: options.paceMs } : {}),
    };
    return new Promise((resolve, reject) => {
      waiting.set(command.id, { resolve, reject });
      stdin.write(`${JSON.stringify(command)}\n`);
    });
  };
  const get: Agent['get'] = async (address, options = {}) =>
    (await run([{ kind: 'http', address, port: 80, ...options }]))[0] as Outcome;
  return { running, run, get };
}

/** The server that stands in VMs, on the physical server and, for what VMs send outwards, at the client's. */
export function startServer(network: Network, namespace: string, name = namespace, port = 8080): Running {
  return startIn(network, namespace, `server-${name}`, [
    process.execPath,
    script('./vm.ts'),
    '--name',
    name,
    '--port',
    String(port),
    '--broken-port',
    String(BROKEN_PORT),
  ]);
}

/** What the VM said; undefined when the outcome is a failure or not from a VM. */
export function vmAnswer(outcome: Outcome): VmAnswer | undefined {
  if (outcome.status !== 200) return undefined;
  try {
    return JSON.parse(outcome.body) as VmAnswer;
  } catch {
    return undefined;
  }
}

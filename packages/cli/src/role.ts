// The life of a role as a process: start, say that it is ready, wait for a signal, close. Ctrl-C during the start cleans up too.
import type { Context } from './command.ts';
import { CliError, ExitStatus, sentenceOf } from './errors.ts';
import type { Flags } from './flags.ts';

/** Longer than any clean close takes; a role that needs more hangs. */
const CLOSE_MS_MAX = 15_000;

export interface Running {
  close(): Promise<void>;
}

export interface RoleRun<R extends Running> {
  /** 'director ld1', for messages. */
  readonly name: string;
  /** `giveUp` ends the process when the role can no longer do its work; whoever supervises it starts it again. */
  start(giveUp: (error: Error) => void): Promise<R>;
  /** The ready line: facts for --json and the text after 'ready: '. */
  ready(role: R): { facts: Record<string, unknown>; text: string };
}

export async function runRole<R extends Running>(context: Context, run: RoleRun<R>): Promise<ExitStatus> {
  const { signal } = context;
  const gaveUp = Promise.withResolvers<Error>();
  const starting = run.start(gaveUp.resolve);
  // A start that fails after Ctrl-C has cleaned up after itself, and nobody wants to hear of it.
  starting.catch(() => undefined);
  await Promise.race([starting, aborted(signal)]);
  if (signal.aborted) {
    const started = await within(
      starting.catch(() => undefined),
      `${run.name} did not finish its start`,
    );
    if (started !== undefined) await within(started.close(), `${run.name} did not close`);
    return ExitStatus.ok;
  }
  const role = await starting;
  const { facts, text } = run.ready(role);
  context.out.event({ event: 'ready', ...facts }, `ready: ${text}`);
  const failure = await Promise.race([gaveUp.promise, aborted(signal)]);
  await within(role.close(), `${run.name} did not close`);
  if (failure instanceof Error)
    throw new CliError(`${run.name} gave up: ${sentenceOf(failure)}`, { hint: 'start it again', cause: failure });
  return ExitStatus.ok;
}

export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

async function within<T>(work: Promise<T>, complaint: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () =>
        reject(
          new CliError(`${complaint} within ${CLOSE_MS_MAX / 1000} s`, { hint: 'this is a bug; please report it' }),
        ),
      CLOSE_MS_MAX,
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Several things that are started one after the other and closed in the opposite order, also when a start fails half-way. */
export class Stack implements Running {
  readonly #parts: Running[] = [];
  readonly #signal: AbortSignal | undefined;
  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }
  /** Takes a part over. Throws when the start was interrupted meanwhile: nothing more needs to be started. */
  add<R extends Running>(part: R): R {
    this.#parts.push(part);
    this.#signal?.throwIfAborted();
    return part;
  }
  async close(): Promise<void> {
    const errors: unknown[] = [];
    for (let part = this.#parts.pop(); part !== undefined; part = this.#parts.pop()) {
      try {
        await part.close();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }
}

/** Runs `start` with a stack that is closed when it throws. */
export async function startAll<R>(start: (stack: Stack) => Promise<R>, signal?: AbortSignal): Promise<R & Running> {
  const stack = new Stack(signal);
  try {
    const result = await start(stack);
    return Object.assign(result as R & Running, { close: () => stack.close() });
  } catch (error) {
    await stack.close().catch(() => undefined);
    throw error;
  }
}

/** Flags of every role that is a node of a cluster. */
export const nodeFlags = {
  controller: {
    schema: { type: 'string', description: 'URL of the controller' },
    value: 'URL',
    env: 'CLB_CONTROLLER',
    required: true,
  },
  token: {
    schema: { type: 'string', description: 'join token of the cluster' },
    value: 'TOKEN',
    env: 'CLB_TOKEN',
    required: true,
  },
  'state-dir': {
    schema: { type: 'string', description: 'where the last image is kept, to serve from without a controller' },
    value: 'DIR',
    env: 'CLB_STATE_DIR',
    required: true,
  },
} as const satisfies Flags;

/** Flags of every role that carries packets. */
export const packetFlags = {
  device: {
    schema: { type: 'string', pattern: '^[A-Za-z0-9_.-]{1,15}$', description: 'network device of the underlay' },
    value: 'DEVICE',
    required: true,
  },
  port: {
    schema: { enum: ['auto', 'xdp', 'packet', 'tun'], default: 'auto', description: 'what carries the packets' },
  },
} as const satisfies Flags;

export const pluginFlag = {
  plugin: {
    schema: {
      type: 'array',
      items: { type: 'string' },
      maxItems: 64,
      description: 'plugins to load: ./file.ts, ./file.js or a package',
    },
    value: 'PLUGIN[,PLUGIN]',
  },
} as const satisfies Flags;

export const logFlag = {
  log: {
    schema: {
      enum: ['debug', 'info', 'warn', 'error', 'silent'],
      default: 'info',
      description: 'least level logged to standard error',
    },
    value: 'LEVEL',
    env: 'CLB_LOG',
  },
} as const satisfies Flags;

// What a command is: its words, arguments and flags (from which help and docs/reference/cli.md are made) and what it does.
import type { Argument, FlagValues, Flags, ValueOf } from './flags.ts';
import type { Client } from './client.ts';
import type { Output } from './output.ts';
import type { ExitStatus } from './errors.ts';

/** What a running command may touch. */
export interface Context {
  readonly out: Output;
  readonly env: Record<string, string | undefined>;
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  /** The controller named by flags, environment or the user's file. */
  connect(): Client;
}

export interface Command {
  /** One or two words: 'get', 'eip bind'. */
  readonly name: string;
  readonly group: 'roles' | 'one box' | 'configure' | 'look into';
  readonly summary: string;
  /** Paragraphs of help. */
  readonly text?: string;
  readonly arguments: readonly Argument[];
  readonly flags: Flags;
  /** Talks to a controller: takes the connection flags too. */
  readonly connects: boolean;
  readonly examples: readonly string[];
  run(input: never, context: Context): Promise<ExitStatus>;
}

/** Keeps the types of flags and gives back a plain command. */
export function defineCommand<const F extends Flags, const A extends readonly Argument[]>(
  command: Omit<Command, 'flags' | 'arguments' | 'run'> & {
    readonly flags: F;
    readonly arguments: A;
    run(input: { flags: FlagValues<F>; arguments: ArgumentValues<A> }, context: Context): Promise<ExitStatus>;
  },
): Command {
  return command as Command;
}

export type ArgumentValues<A extends readonly Argument[]> = {
  readonly [N in A[number]['name']]: Extract<A[number], { name: N }> extends { required: true; schema: infer S }
    ? ValueOf<S>
    : ValueOf<Extract<A[number], { name: N }>['schema']> | undefined;
};

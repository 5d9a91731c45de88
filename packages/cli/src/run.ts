// One command line from words to exit status: find the command, check its flags, run it, say what went wrong.
import { createClient, type Client } from './client.ts';
import type { Command, Context } from './command.ts';
import { connectionFlags, connectionFrom } from './connection.ts';
import { CliError, ExitStatus, sentenceOf, usageError } from './errors.ts';
import { commonFlags, type Flags, parseArguments, parseFlags } from './flags.ts';
import { helpFor, helpText } from './help.ts';
import { didYouMean } from './nearest.ts';
import { createOutput, type Streams } from './output.ts';
import { commands } from './table.ts';
import { version } from './version.ts';

export interface Surroundings extends Streams {
  readonly env: Record<string, string | undefined>;
  readonly signal: AbortSignal;
}

export async function run(args: readonly string[], surroundings: Surroundings): Promise<ExitStatus> {
  const isJson = args.includes('--json');
  const out = createOutput(surroundings, isJson);
  const clients: Client[] = [];
  try {
    return await dispatch(args, surroundings, out, clients);
  } catch (error) {
    return report(error, surroundings, isJson);
  } finally {
    for (const client of clients) await client.close();
  }
}

async function dispatch(
  args: readonly string[],
  surroundings: Surroundings,
  out: ReturnType<typeof createOutput>,
  clients: Client[],
): Promise<ExitStatus> {
  const first = args.find((word) => !word.startsWith('-'));
  if (args.includes('--version') && first === undefined) {
    out.answer({ version }, (value) => value.version);
    return ExitStatus.ok;
  }
  if (first === undefined || first === 'help') return help(args, out);
  const { command, rest } = findCommand(args);
  const flags: Flags = { ...command.flags, ...(command.connects ? connectionFlags : {}), ...commonFlags };
  if (rest.includes('--help') || rest.includes('-h')) {
    out.answer({ help: helpFor(command, flags) }, (value) => value.help);
    return ExitStatus.ok;
  }
  const where = `clb ${command.name}`;
  const { values, positionals } = parseFlags(rest, flags, surroundings.env, where);
  const context: Context = {
    out,
    env: surroundings.env,
    signal: surroundings.signal,
    connect() {
      const client = createClient(
        connectionFrom(values as Record<string, string | undefined>, surroundings.env),
        surroundings.signal,
      );
      clients.push(client);
      return client;
    },
  };
  const input = { flags: values, arguments: parseArguments(positionals, command.arguments, where) };
  return command.run(input as never, context);
}

function help(args: readonly string[], out: ReturnType<typeof createOutput>): ExitStatus {
  const words = args.filter((word) => !word.startsWith('-') && word !== 'help');
  const unknown = args.find((word) => word.startsWith('-') && !['--help', '-h', '--json'].includes(word));
  if (unknown !== undefined) throw usageError(`clb has no flag ${unknown} before a command`, 'see: clb help');
  const group = commands.filter((command) => words.length > 0 && command.name.startsWith(`${words.join(' ')} `));
  if (words.length > 0 && group.length === 0) {
    const { command } = findCommand(words);
    const flags: Flags = { ...command.flags, ...(command.connects ? connectionFlags : {}), ...commonFlags };
    out.answer({ help: helpFor(command, flags) }, (value) => value.help);
    return ExitStatus.ok;
  }
  out.answer({ help: helpText(group.length > 0 ? group : commands) }, (value) => value.help);
  return ExitStatus.ok;
}

/** The command named by the first one or two words, wherever flags stand. */
export function findCommand(args: readonly string[]): { command: Command; rest: string[] } {
  const at = args.findIndex((word) => !word.startsWith('-'));
  const word = args[at] ?? '';
  const before = args.slice(0, at);
  const second = args[at + 1];
  const two = commands.find((command) => command.name === `${word} ${second}`);
  if (two !== undefined) return { command: two, rest: [...before, ...args.slice(at + 2)] };
  const one = commands.find((command) => command.name === word);
  if (one !== undefined) return { command: one, rest: [...before, ...args.slice(at + 1)] };
  const verbs = commands
    .filter((command) => command.name.startsWith(`${word} `))
    .map((command) => command.name.slice(word.length + 1));
  if (verbs.length > 0) {
    const suggestion = second === undefined ? '' : didYouMean(second, verbs, (verb) => `'clb ${word} ${verb}'`);
    throw usageError(`clb ${word} needs one of ${verbs.join(', ')}${suggestion}`, `see: clb help ${word}`);
  }
  const names = [...new Set(commands.map((command) => command.name.split(' ')[0] ?? ''))];
  throw usageError(
    `clb has no command '${word}'${didYouMean(word, names, (name) => `'clb ${name}'`)}`,
    'see: clb help',
  );
}

function report(error: unknown, surroundings: Surroundings, isJson: boolean): ExitStatus {
  if (surroundings.signal.aborted && !(error instanceof CliError)) return ExitStatus.interrupted;
  const known = error instanceof CliError ? error : undefined;
  if (isJson) {
    const body = { error: { code: known?.code, message: sentenceOf(error), hint: known?.hint } };
    surroundings.stderr.write(`${JSON.stringify(body)}\n`);
  } else {
    surroundings.stderr.write(`clb: ${sentenceOf(error)}\n`);
    if (known?.hint !== undefined) surroundings.stderr.write(`     ${known.hint}\n`);
    // A bug: the stack is what its reporter needs.
    if (known === undefined && error instanceof Error && surroundings.env.CLB_DEBUG !== undefined)
      surroundings.stderr.write(`${error.stack}\n`);
  }
  return known?.exitStatus ?? ExitStatus.failed;
}

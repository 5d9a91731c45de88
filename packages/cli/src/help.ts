// Help texts, made from the command table; docs/reference/cli.md is made from the same.
import type { Command } from './command.ts';
import { exitStatusText } from './errors.ts';
import type { Argument, Flag, Flags } from './flags.ts';

/** More commands with one first word than this are folded. */
const FAMILY_MAX = 4;

export const groups = ['one box', 'roles', 'configure', 'look into'] as const;

export function helpText(listed: readonly Command[]): string {
  const parts = [
    'clb: run, configure and look into an OpenCLB load balancer',
    '',
    'usage: clb <command> [arguments] [flags]',
  ];
  const isOverview = new Set(listed.map(firstWord)).size > 1;
  for (const group of groups) {
    const rows = rowsOf(
      listed.filter((command) => command.group === group),
      isOverview,
    );
    if (rows.length > 0) parts.push('', `${group}:`, ...columns(rows));
  }
  parts.push(
    '',
    'exit status:',
    ...Object.entries(exitStatusText).map(([status, text]) => `  ${status.padStart(3)}  ${text}`),
  );
  parts.push('', 'Every command takes --json and --help; `clb help <command>` tells its flags.');
  return parts.join('\n');
}

/** In the overview, many commands that share their first word are one line. */
function rowsOf(members: readonly Command[], isOverview: boolean): (readonly [string, string])[] {
  const rows = new Map<string, string>();
  for (const command of members) {
    const word = firstWord(command);
    const family = members.filter((one) => firstWord(one) === word);
    if (!isOverview || family.length <= FAMILY_MAX) rows.set(command.name, command.summary);
    else
      rows.set(
        `${word} <resource>`,
        `${word} one of ${family.map((one) => one.name.slice(word.length + 1)).join(', ')}`,
      );
  }
  return [...rows];
}

function firstWord(command: Command): string {
  return command.name.split(' ')[0] ?? '';
}

export function usageLine(command: Command): string {
  const words = command.arguments.map((argument) =>
    argument.required === true ? `<${argument.name}>` : `[${argument.name}]`,
  );
  return ['clb', command.name, ...words, '[flags]'].join(' ');
}

export function helpFor(command: Command, flags: Flags): string {
  const parts = [`${command.summary}.`, '', `usage: ${usageLine(command)}`];
  if (command.text !== undefined) parts.push('', command.text);
  if (command.arguments.length > 0) {
    parts.push(
      '',
      'arguments:',
      ...columns(command.arguments.map((argument) => [`<${argument.name}>`, argumentText(argument)])),
    );
  }
  parts.push(
    '',
    'flags:',
    ...columns(Object.entries(flags).map(([name, flag]) => [flagWords(name, flag), flagText(flag)])),
  );
  if (command.examples.length > 0) parts.push('', 'examples:', ...command.examples.map((example) => `  ${example}`));
  return parts.join('\n');
}

export function flagWords(name: string, flag: Flag): string {
  const value = flag.schema.type === 'boolean' ? '' : ` ${flag.value ?? valueWord(flag)}`;
  return `${flag.short === undefined ? '' : `-${flag.short}, `}--${name}${value}`;
}

function valueWord(flag: Flag): string {
  if (flag.schema.enum !== undefined) return flag.schema.enum.join('|');
  return flag.schema.type === 'integer' || flag.schema.type === 'number' ? 'N' : 'VALUE';
}

export function flagText(flag: Flag): string {
  const parts = [flag.text ?? flag.schema.description ?? ''];
  if (flag.required === true) parts.push('(required)');
  if (flag.schema.default !== undefined) parts.push(`(default: ${String(flag.schema.default)})`);
  if (flag.env !== undefined) parts.push(`[${flag.env}]`);
  return parts.filter((part) => part !== '').join(' ');
}

export function argumentText(argument: Argument): string {
  const choice = argument.schema.enum === undefined ? '' : ` (${argument.schema.enum.join(', ')})`;
  return `${argument.text ?? argument.schema.description ?? ''}${choice}`;
}

function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.min(34, Math.max(...rows.map(([left]) => left.length)));
  return rows.map(([left, right]) =>
    left.length > width ? `  ${left}\n  ${' '.repeat(width)}  ${right}` : `  ${left.padEnd(width)}  ${right}`.trimEnd(),
  );
}

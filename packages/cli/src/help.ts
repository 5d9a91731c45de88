// Help texts, made from the command table; docs/reference/cli.md is made from the same.
import type { Command } from './command.ts';
import { exitStatusText } from './errors.ts';
import type { Argument, Flag, Flags } from './flags.ts';

export const groups = ['one box', 'roles', 'configure', 'look into'] as const;

export function helpText(listed: readonly Command[]): string {
  const width = Math.max(...listed.map((command) => command.name.length));
  const parts = [
    'clb: run, configure and look into an OpenCLB load balancer',
    '',
    'usage: clb <command> [arguments] [flags]',
  ];
  for (const group of groups) {
    const members = listed.filter((command) => command.group === group);
    if (members.length === 0) continue;
    parts.push('', `${group}:`, ...members.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`));
  }
  parts.push(
    '',
    'exit status:',
    ...Object.entries(exitStatusText).map(([status, text]) => `  ${status.padStart(3)}  ${text}`),
  );
  parts.push('', 'Every command takes --json and --help; `clb help <command>` tells its flags.');
  return parts.join('\n');
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

// A list or an object given as one word on the command line: `a,b`, or YAML in its flow style.
import { usageError } from '../errors.ts';
import type { Schema } from '../schema.ts';
import { checkSource } from './check.ts';
import { parseSource } from './source.ts';

export function checkInline(label: string, schema: Schema, text: string): readonly unknown[] | object {
  // `a,b` is short for `[a, b]`, which also keeps the brackets away from the shell.
  const isShort = schema.type === 'array' && !/^\s*\[/.test(text);
  const { source, issues } = parseSource(isShort ? `[${text}]` : text, label);
  const checked = issues.length > 0 ? { value: undefined, issues } : checkSource(source, schema);
  const [issue] = checked.issues;
  if (issue === undefined) return checked.value as readonly unknown[] | object;
  const where = issue.path === '' ? '' : ` ${issue.path}:`;
  throw usageError(`${label}:${where} ${issue.message}`, schema.description);
}

// The query language of logs: `status>=500 and (domain=a.test or path ~ '/api') and not method in (GET, HEAD)`.
// A recursive descent over tokens; what it gives back is a tree of known fields and plain values, never text to be run.
import { LOG_KINDS, LOG_LIMITS, type LogField, type LogKind } from './log.ts';

export type LogOperator = '=' | '!=' | '<' | '<=' | '>' | '>=' | '~' | '!~';

export type LogExpression =
  | { readonly type: 'and' | 'or'; readonly left: LogExpression; readonly right: LogExpression }
  | { readonly type: 'not'; readonly inner: LogExpression }
  | {
      readonly type: 'compare';
      readonly field: string;
      readonly operator: LogOperator;
      readonly value: string | number;
    }
  | { readonly type: 'in'; readonly field: string; readonly values: readonly (string | number)[] };

/** A query that cannot be understood. `column` counts from 1. */
export class LogQueryError extends Error {
  readonly column: number;
  constructor(column: number, reason: string) {
    super(`column ${column}: ${reason}`);
    this.column = column;
  }
}

/** Words that people use → fields. */
const ALIASES: Readonly<Record<string, string>> = {
  domain: 'host',
  method: 'request_method',
  path: 'uri',
  client: 'remote_addr',
  vip: 'server_addr',
  vport: 'server_port',
  target: 'upstream_addr',
  group: 'proxy_host',
  time: 'request_time',
  user_agent: 'http_user_agent',
  referer: 'http_referer',
};
const { client, vip, vport, target } = ALIASES as Record<'client' | 'vip' | 'vport' | 'target', string>;
const ALIASES_OF: Readonly<Record<LogKind, Readonly<Record<string, string>>>> = {
  access: ALIASES,
  health: {},
  connection: { client, vip, vport, target },
};
const DEPTH_MAX = 32;
const VALUES_MAX = 100;

interface Token {
  readonly kind: 'word' | 'text' | 'operator' | 'open' | 'close' | 'comma' | 'end';
  readonly text: string;
  readonly column: number;
}

/** Throws `LogQueryError`. */
export function parseLogQuery(text: string, kind: LogKind = 'access'): LogExpression {
  if (text.length > LOG_LIMITS.whereCharsMax) {
    throw new LogQueryError(LOG_LIMITS.whereCharsMax, `longer than ${LOG_LIMITS.whereCharsMax} characters`);
  }
  return new Parser(tokensOf(text), LOG_KINDS[kind], ALIASES_OF[kind]).whole();
}

const OPERATOR = /^(?:!=|!~|<=|>=|==|=|<|>|~)/;
const WORD = /^[^\s()=!<>~,'"]+/;

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < text.length) {
    const rest = text.slice(at);
    const column = at + 1;
    const char = rest[0]!;
    if (/\s/.test(char)) {
      at++;
      continue;
    }
    if (char === "'" || char === '"') {
      const end = rest.indexOf(char, 1);
      if (end < 0) throw new LogQueryError(column, `this ${char} is never closed`);
      tokens.push({ kind: 'text', text: rest.slice(1, end), column });
      at += end + 1;
      continue;
    }
    const operator = OPERATOR.exec(rest)?.[0];
    const word = operator === undefined ? WORD.exec(rest)?.[0] : undefined;
    if (operator !== undefined) tokens.push({ kind: 'operator', text: operator === '==' ? '=' : operator, column });
    else if (char === '(') tokens.push({ kind: 'open', text: char, column });
    else if (char === ')') tokens.push({ kind: 'close', text: char, column });
    else if (char === ',') tokens.push({ kind: 'comma', text: char, column });
    else if (word !== undefined) tokens.push({ kind: 'word', text: word, column });
    else throw new LogQueryError(column, `${char} is not understood here`);
    at += operator?.length ?? word?.length ?? 1;
  }
  tokens.push({ kind: 'end', text: '', column: text.length + 1 });
  return tokens;
}

class Parser {
  readonly #tokens: readonly Token[];
  readonly #fields: Readonly<Record<string, LogField>>;
  readonly #aliases: Readonly<Record<string, string>>;
  #at = 0;
  #depth = 0;

  constructor(
    tokens: readonly Token[],
    fields: Readonly<Record<string, LogField>>,
    aliases: Readonly<Record<string, string>>,
  ) {
    this.#tokens = tokens;
    this.#fields = fields;
    this.#aliases = aliases;
  }

  whole(): LogExpression {
    const expression = this.#or();
    const left = this.#next();
    if (left.kind !== 'end') throw new LogQueryError(left.column, `expected and, or or the end, not ${left.text}`);
    return expression;
  }

  #peek(): Token {
    return this.#tokens[this.#at]!;
  }

  #next(): Token {
    const token = this.#tokens[this.#at]!;
    if (token.kind !== 'end') this.#at++;
    return token;
  }

  #takes(word: string): boolean {
    const token = this.#peek();
    if (token.kind !== 'word' || token.text.toLowerCase() !== word) return false;
    this.#at++;
    return true;
  }

  #or(): LogExpression {
    let left = this.#and();
    while (this.#takes('or')) left = { type: 'or', left, right: this.#and() };
    return left;
  }

  #and(): LogExpression {
    let left = this.#not();
    while (this.#takes('and')) left = { type: 'and', left, right: this.#not() };
    return left;
  }

  #not(): LogExpression {
    if (++this.#depth > DEPTH_MAX) throw new LogQueryError(this.#peek().column, `nested deeper than ${DEPTH_MAX}`);
    try {
      if (this.#takes('not')) return { type: 'not', inner: this.#not() };
      if (this.#peek().kind !== 'open') return this.#comparison();
      this.#at++;
      const inner = this.#or();
      const close = this.#next();
      if (close.kind !== 'close') throw new LogQueryError(close.column, 'expected )');
      return inner;
    } finally {
      this.#depth--;
    }
  }

  #comparison(): LogExpression {
    const name = this.#next();
    if (name.kind !== 'word') throw new LogQueryError(name.column, `expected a field, not ${name.text || 'the end'}`);
    const folded = name.text.toLowerCase();
    const field = this.#aliases[folded] ?? folded;
    const row = Object.hasOwn(this.#fields, field) ? this.#fields[field] : undefined;
    if (row === undefined) {
      const known = [...Object.keys(this.#aliases), ...Object.keys(this.#fields)].join(', ');
      throw new LogQueryError(name.column, `${name.text} is no field. Known are ${known}`);
    }
    const isNegated = this.#takes('not');
    if (this.#takes('in')) {
      const list: LogExpression = { type: 'in', field, values: this.#list(row) };
      return isNegated ? { type: 'not', inner: list } : list;
    }
    const operator = this.#next();
    if (isNegated || operator.kind !== 'operator') {
      throw new LogQueryError(operator.column, 'expected one of = != < <= > >= ~ !~ in');
    }
    const value = this.#value(row, operator.text);
    return { type: 'compare', field, operator: operator.text as LogOperator, value };
  }

  #list(row: LogField): (string | number)[] {
    const open = this.#next();
    if (open.kind !== 'open') throw new LogQueryError(open.column, 'expected ( behind in');
    const values: (string | number)[] = [];
    for (;;) {
      values.push(this.#value(row, '='));
      if (values.length > VALUES_MAX) throw new LogQueryError(open.column, `more than ${VALUES_MAX} values`);
      const token = this.#next();
      if (token.kind === 'close') return values;
      if (token.kind !== 'comma') throw new LogQueryError(token.column, 'expected , or )');
    }
  }

  #value(row: LogField, operator: string): string | number {
    const token = this.#next();
    if (token.kind !== 'word' && token.kind !== 'text') throw new LogQueryError(token.column, 'expected a value');
    if (row.type === 'text' || operator.endsWith('~')) return token.text;
    const value = Number(token.text);
    if (token.text === '' || !Number.isFinite(value)) {
      throw new LogQueryError(token.column, `${token.text} is not a number`);
    }
    return value;
  }
}

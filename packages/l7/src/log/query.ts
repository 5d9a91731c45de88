// A query of logs → SQL with parameters. Field names come from the table of fields, values are bound, so nothing that a user
// writes becomes SQL.
import {
  CONNECTION_LOG_FIELDS,
  HEALTH_LOG_FIELDS,
  LOG_FIELDS,
  LOG_KINDS,
  LOG_LIMITS,
  type LogExpression,
  type LogKind,
  type LogQuery,
  parseLogQuery,
} from '@openclb/model';

export type SqlValue = string | number;
export interface Sql {
  readonly text: string;
  readonly values: readonly SqlValue[];
}

/** Fields that are made of columns. */
const DERIVED: Readonly<Record<string, string>> = {
  time_local: "strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch')",
  uri: "CASE instr(request_uri, '?') WHEN 0 THEN request_uri ELSE substr(request_uri, 1, instr(request_uri, '?') - 1) END",
  request: "request_method || ' ' || request_uri || ' HTTP/' || version",
  tcpinfo_rtt: '0',
  vip_vpcid: '-1',
};
const HEALTH_DERIVED: Readonly<Record<string, string>> = { time: DERIVED['time_local']!, vpcid: '-1' };

const CONNECTION_DERIVED: Readonly<Record<string, string>> = { time: DERIVED['time_local']! };

const DERIVED_OF: Readonly<Record<LogKind, Readonly<Record<string, string>>>> = {
  access: DERIVED,
  health: HEALTH_DERIVED,
  connection: CONNECTION_DERIVED,
};

/** Columns that are kept, in the order in which rows bring them behind `at`. */
export const ACCESS_COLUMNS: readonly string[] = [
  ...Object.keys(LOG_FIELDS).filter((name) => !Object.hasOwn(DERIVED, name)),
  'version',
];
export const HEALTH_COLUMNS: readonly string[] = Object.keys(HEALTH_LOG_FIELDS).filter(
  (name) => !Object.hasOwn(HEALTH_DERIVED, name),
);

export const CONNECTION_COLUMNS: readonly string[] = Object.keys(CONNECTION_LOG_FIELDS).filter(
  (name) => !Object.hasOwn(CONNECTION_DERIVED, name),
);

const columnOf = (kind: LogKind, field: string): string => DERIVED_OF[kind][field] ?? `"${field}"`;

/** Throws `LogQueryError`. */
export function selectOf(query: LogQuery): Sql {
  const { kind = 'access', since, until, where, after, limit = LOG_LIMITS.rowsDefault } = query;
  const values: SqlValue[] = [];
  const conditions: string[] = [];
  const add = (condition: string, value: SqlValue): void => {
    conditions.push(condition);
    values.push(value);
  };
  if (since !== undefined) add('at >= ?', since);
  if (until !== undefined) add('at < ?', until);
  if (after !== undefined) add('id > ?', after);
  if (where !== undefined && where.trim() !== '') conditions.push(sqlOf(parseLogQuery(where, kind), kind, values));
  const fields = Object.keys(LOG_KINDS[kind]);
  const columns = fields.map((field) => `${columnOf(kind, field)} AS "${field}"`).join(', ');
  const filter = conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`;
  const order = after === undefined ? 'at DESC, id DESC' : 'id';
  values.push(Math.min(limit, LOG_LIMITS.rowsMax));
  return { text: `SELECT id AS _id, at AS _at, ${columns} FROM ${kind}${filter} ORDER BY ${order} LIMIT ?`, values };
}

function sqlOf(expression: LogExpression, kind: LogKind, values: SqlValue[]): string {
  switch (expression.type) {
    case 'and':
    case 'or': {
      const left = sqlOf(expression.left, kind, values);
      return `(${left} ${expression.type === 'and' ? 'AND' : 'OR'} ${sqlOf(expression.right, kind, values)})`;
    }
    case 'not':
      return `NOT (${sqlOf(expression.inner, kind, values)})`;
    case 'in':
      values.push(...expression.values);
      return `${columnOf(kind, expression.field)} IN (${expression.values.map(() => '?').join(', ')})`;
    default: {
      const { field, operator, value } = expression;
      const column = columnOf(kind, field);
      values.push(value);
      if (operator === '~') return `instr(lower(${column}), lower(?)) > 0`;
      if (operator === '!~') return `instr(lower(${column}), lower(?)) = 0`;
      return `${column} ${operator === '!=' ? '<>' : operator} ?`;
    }
  }
}

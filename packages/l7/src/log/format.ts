// Records → lines: the short format, JSON, or a text with $variables as nginx's log_format has it. Made once, used for each record.
import { CONNECTION_LOG_FIELDS, HEALTH_LOG_FIELDS, LOG_FIELDS, type LogFieldName } from '@openclb/model';
import type { ConnectionRecord } from '../relay/context.ts';
import type { AccessRecord, HealthRecord } from './record.ts';
import { CONNECTION_VALUES, HEALTH_VALUES, LOG_VALUES, timeText, type Value } from './variables.ts';

export type LineOf = (record: AccessRecord) => string;

/** `combined`, `json`, or a text with $variables. Throws a RangeError for a variable that is not known. */
export function formatOf(format: string): LineOf {
  if (format === 'combined') return combinedLine;
  return format === 'json' ? jsonLine : templateOf(format);
}

function combinedLine(record: AccessRecord): string {
  // A method is a token, which needs no escapes.
  return `${record.remoteAddress} [${timeText(record.time)}] ${record.host} "${record.method} ${escaped(record.target)}" ${record.status} ${record.responseBytes} ${record.upstreamAddress || '-'} ${secondsText(record.requestMs)} ${record.failure || '-'}\n`;
}

const THREE_DIGITS = Array.from({ length: 1000 }, (_, value) => String(value).padStart(3, '0'));

/** `toFixed(3)` of the seconds without its price. */
function secondsText(ms: number): string {
  const whole = Math.max(0, Math.round(ms));
  return `${Math.floor(whole / 1000)}.${THREE_DIGITS[whole % 1000]}`;
}

const NAMES = Object.keys(LOG_FIELDS) as LogFieldName[];

function jsonLine(record: AccessRecord): string {
  const row: Record<string, Value> = {};
  for (const name of NAMES) row[name] = LOG_VALUES[name](record);
  return `${JSON.stringify(row)}\n`;
}

function templateOf(format: string): LineOf {
  const parts: (string | ((record: AccessRecord) => Value))[] = [];
  let from = 0;
  for (const match of format.matchAll(/\$(?:\{([a-z_]+)\}|([a-z_]+))/g)) {
    const name = match[1] ?? match[2]!;
    const value = Object.hasOwn(LOG_VALUES, name) ? LOG_VALUES[name as LogFieldName] : undefined;
    if (value === undefined) {
      throw new RangeError(
        `$${name} is no variable of logs. Known are ${NAMES.map((known) => `$${known}`).join(', ')}`,
      );
    }
    if (match.index > from) parts.push(format.slice(from, match.index));
    parts.push(value);
    from = match.index + match[0].length;
  }
  if (from < format.length) parts.push(format.slice(from));
  return (record) => {
    let line = '';
    for (const part of parts) line += typeof part === 'string' ? part : shown(part(record));
    return `${line}\n`;
  };
}

/** What is empty or was not measured is a dash, as in nginx. */
function shown(value: Value): string {
  if (typeof value === 'number') return value < 0 ? '-' : String(value);
  return value === '' ? '-' : escaped(value);
}

/** What a client writes must neither end the quotes nor the line. */
function escaped(text: string): string {
  // oxlint-disable-next-line no-control-regex
  if (!/["\\\u0000-\u001f\u007f-\uffff]/.test(text)) return text;
  // oxlint-disable-next-line no-control-regex
  return text.replaceAll(/["\\\u0000-\u001f\u007f-\uffff]/g, (char) =>
    char === '"' || char === '\\'
      ? `\\${char}`
      : `\\x${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
}

const HEALTH_NAMES = Object.keys(HEALTH_LOG_FIELDS) as (keyof typeof HEALTH_LOG_FIELDS)[];

/** Health records are rare: always JSON, told from access lines by their first member. */
export function healthLine(record: HealthRecord): string {
  const row: Record<string, Value> = { log: 'health' };
  for (const name of HEALTH_NAMES) row[name] = HEALTH_VALUES[name](record);
  return `${JSON.stringify(row)}\n`;
}

const CONNECTION_NAMES = Object.keys(CONNECTION_LOG_FIELDS) as (keyof typeof CONNECTION_LOG_FIELDS)[];

/** Always JSON, as health records. */
export function connectionLine(record: ConnectionRecord): string {
  const row: Record<string, Value> = { log: 'connection' };
  for (const name of CONNECTION_NAMES) row[name] = CONNECTION_VALUES[name](record);
  return `${JSON.stringify(row)}\n`;
}

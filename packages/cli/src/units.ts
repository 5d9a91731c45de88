// Durations and sizes as people write them.
import { usageError } from './errors.ts';

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const UNIT_BYTES = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;

/** `90s`, `10m`, `12h`, `7d` in milliseconds. `label` names the flag. */
export function durationMs(label: string, text: string): number {
  const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text);
  if (match === null) throw usageError(`${label}: '${text}' is no duration`, 'write it as 90s, 10m, 12h or 7d');
  return Number(match[1]) * UNIT_MS[match[2] as keyof typeof UNIT_MS];
}

/** `64MiB`, `1GiB` in bytes. */
export function sizeBytes(label: string, text: string): number {
  const match = /^(\d{1,9})(B|KiB|MiB|GiB)$/.exec(text);
  if (match === null) throw usageError(`${label}: '${text}' is no size`, 'write it as 64MiB or 1GiB');
  return Number(match[1]) * UNIT_BYTES[match[2] as keyof typeof UNIT_BYTES];
}

/** A duration before now, or a point in time (ISO 8601), in milliseconds since the epoch. */
export function timeMs(label: string, text: string, nowMs: number): number {
  if (/^\d+(ms|s|m|h|d)$/.test(text)) return nowMs - durationMs(label, text);
  const at = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at)) throw usageError(`${label}: '${text}' is no time`, 'write it as 10m or 2026-01-31T12:00:00Z');
  return at;
}

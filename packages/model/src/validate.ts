// Checks a value against a schema and says which field broke which rule, in words that a person can act on.
import type { TSchema } from 'typebox';
import { Value } from 'typebox/value';

export interface ShapeProblem {
  /** JSON pointer of the field, '' for the value itself. */
  readonly path: string;
  readonly rule: string;
  /** The unknown key, when that is the problem. */
  readonly unknownKey?: string;
  readonly hint?: string;
}

const PROBLEMS_MAX = 20;

/** Empty when the value is right. */
export function checkShape(schema: TSchema, value: unknown): ShapeProblem[] {
  if (Value.Check(schema, value)) return [];
  const problems: ShapeProblem[] = [];
  for (const error of Value.Errors(schema, value)) {
    // The parts of a failed union say less than the union itself, and an unknown key is reported twice.
    if (error.keyword === 'anyOf' || error.keyword === 'boolean') continue;
    problems.push(...describe(schema, error));
    if (problems.length >= PROBLEMS_MAX) break;
  }
  return problems.length > 0 ? problems : [{ path: '', rule: 'does not have the expected shape' }];
}

interface ShapeError {
  readonly keyword: string;
  readonly instancePath: string;
  readonly message: string;
  readonly params: object;
}

function describe(schema: TSchema, error: ShapeError): ShapeProblem[] {
  const path = error.instancePath;
  const params = error.params as {
    additionalProperties?: string[];
    requiredProperties?: string[];
    allowedValues?: unknown[];
  };
  if (error.keyword === 'additionalProperties') {
    return (params.additionalProperties ?? []).map((key) => {
      const known = knownKeys(schema, path);
      const nearest = nearestKey(key, known);
      const hint = nearest
        ? `did you mean ${nearest}?`
        : known.length > 0
          ? `known fields: ${known.join(', ')}`
          : 'remove it';
      return { path: `${path}/${key}`, rule: 'is not a known field', unknownKey: key, hint };
    });
  }
  if (error.keyword === 'required') {
    return (params.requiredProperties ?? []).map((key) => ({ path: `${path}/${key}`, rule: 'is required' }));
  }
  if (error.keyword === 'enum' && params.allowedValues)
    return [{ path, rule: `must be one of ${params.allowedValues.join(', ')}` }];
  return [{ path, rule: error.message }];
}

/** The properties that the schema knows at a JSON pointer; empty where a union hides them. */
export function knownKeys(schema: TSchema, pointer: string): string[] {
  let at: unknown = schema;
  for (const part of pointer.split('/').slice(1)) {
    const node = at as { properties?: Record<string, unknown>; items?: unknown };
    at = node.properties?.[part] ?? node.items;
    if (at === undefined) return [];
  }
  return Object.keys((at as { properties?: Record<string, unknown> }).properties ?? {});
}

/** The known key that was probably meant: at most a third of its letters (and at least two) may differ. */
export function nearestKey(key: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const distance = editDistance(key.toLowerCase().slice(0, 64), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best !== undefined && bestDistance <= Math.max(2, Math.floor(best.length / 3)) ? best : undefined;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const substitution = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}

// Checks a YAML document against a JSON schema (TypeBox), node by node, so that every error has its line and column, and every
// unknown key the nearest known one. The controller checks the same schema again; this check exists for the positions.
import { type Alias, isAlias, isMap, isScalar, isSeq, type Pair } from 'yaml';
import { nearest } from '../nearest.ts';
import type { Schema } from '../schema.ts';
import type { Issue, Source } from './source.ts';

/** Nodes visited, aliases expanded: more is an alias bomb or no configuration. */
const NODES_MAX = 200_000;
const DEPTH_MAX = 32;
const ISSUES_MAX = 50;

interface Walk {
  readonly source: Source;
  readonly schemas: Readonly<Record<string, Schema>>;
  /** What each alias stands for: finding it walks the whole document, so it is found once. */
  readonly aliases: Map<unknown, unknown>;
  nodes: number;
}

/** The plain value of the document and everything that is wrong with it. */
export function checkSource(
  source: Source,
  schema: Schema,
  schemas: Readonly<Record<string, Schema>> = {},
): { value: unknown; issues: Issue[] } {
  const walk: Walk = { source, schemas, aliases: new Map(), nodes: 0 };
  const issues: Issue[] = [];
  const value = checkNode(walk, source.document.contents, schema, [], issues);
  return { value, issues: issues.slice(0, ISSUES_MAX) };
}

function checkNode(walk: Walk, given: unknown, asked: Schema, path: string[], issues: Issue[]): unknown {
  const schema = asked.$ref === undefined ? asked : (walk.schemas[asked.$ref] ?? {});
  const node = isAlias(given) ? resolveAlias(walk, given) : given;
  walk.nodes += 1;
  if (walk.nodes > NODES_MAX || path.length > DEPTH_MAX) {
    if (issues.length === 0) issues.push(issueAt(walk, given, path, 'too deep or too many values'));
    return undefined;
  }
  if (schema.anyOf !== undefined) return checkUnion(walk, node, schema.anyOf, path, issues);
  if (isMap(node)) return checkMap(walk, node.items, node, schema, path, issues);
  if (isSeq(node)) return checkList(walk, node.items, node, schema, path, issues);
  const value = isScalar(node) ? node.value : null;
  const message = scalarProblem(value, schema);
  if (message !== undefined) issues.push(issueAt(walk, given, path, message));
  return value;
}

function resolveAlias(walk: Walk, alias: Alias): unknown {
  if (!walk.aliases.has(alias)) walk.aliases.set(alias, alias.resolve(walk.source.document));
  return walk.aliases.get(alias);
}

function checkMap(
  walk: Walk,
  items: readonly Pair[],
  node: unknown,
  schema: Schema,
  path: string[],
  issues: Issue[],
): unknown {
  const value: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  if (!acceptsType(schema, 'object')) {
    issues.push(issueAt(walk, node, path, `expected ${describe(schema)}, found keys and values`));
    return value;
  }
  const properties = schema.properties ?? {};
  for (const pair of items) {
    const key = isScalar(pair.key) ? String(pair.key.value) : '';
    const below = [...path, key];
    const known = propertySchema(schema, key);
    if (known === undefined) {
      issues.push(issueAt(walk, pair.key, below, unknownKey(key, Object.keys(properties), Object.keys(value))));
      continue;
    }
    value[key] = checkNode(walk, pair.value, known, below, issues);
  }
  for (const key of schema.required ?? []) {
    if (key in value || items.some((pair) => isScalar(pair.key) && pair.key.value === key)) continue;
    const text = properties[key]?.description;
    issues.push(
      issueAt(walk, node, path, `'${key}' is missing${text === undefined ? '' : `: ${firstSentence(text)}`}`),
    );
  }
  return { ...value };
}

function propertySchema(schema: Schema, key: string): Schema | undefined {
  if (schema.properties !== undefined && Object.hasOwn(schema.properties, key)) return schema.properties[key];
  for (const [pattern, one] of Object.entries(schema.patternProperties ?? {}))
    if (new RegExp(pattern).test(key)) return one;
  if (typeof schema.additionalProperties === 'object') return schema.additionalProperties;
  if (schema.additionalProperties === true) return {};
  return schema.additionalProperties === undefined &&
    schema.properties === undefined &&
    schema.patternProperties === undefined
    ? {}
    : undefined;
}

function checkList(
  walk: Walk,
  items: readonly unknown[],
  node: unknown,
  schema: Schema,
  path: string[],
  issues: Issue[],
): unknown {
  if (!acceptsType(schema, 'array')) {
    issues.push(issueAt(walk, node, path, `expected ${describe(schema)}, found a list`));
    return [];
  }
  const { minItems = 0, maxItems = Infinity } = schema;
  if (items.length < minItems)
    issues.push(issueAt(walk, node, path, `at least ${minItems} needed, ${items.length} given`));
  if (items.length > maxItems)
    issues.push(issueAt(walk, node, path, `at most ${maxItems} allowed, ${items.length} given`));
  return items
    .slice(0, maxItems)
    .map((item, index) => checkNode(walk, item, schema.items ?? {}, [...path, String(index)], issues));
}

/** Takes the alternative that fits; otherwise complains in terms of the one that fits best. */
function checkUnion(
  walk: Walk,
  node: unknown,
  alternatives: readonly Schema[],
  path: string[],
  issues: Issue[],
): unknown {
  let best: { issues: Issue[]; score: number } | undefined;
  for (const alternative of alternatives) {
    const found: Issue[] = [];
    const value = checkNode(walk, node, alternative, path, found);
    if (found.length === 0) return value;
    // A wrong kind of value says nothing about what was meant; an error further inside says that the alternative was.
    const depth = Math.max(...found.map((issue) => issue.path.split('/').length));
    const isMeant = acceptsType(alternative, isMap(node) ? 'object' : 'array');
    const score = found.length - depth / 100 + (isMeant ? 0 : 100);
    if (best === undefined || score < best.score) best = { issues: found, score };
  }
  if (best === undefined) return undefined;
  if (!isMap(node) && !isSeq(node)) {
    issues.push(issueAt(walk, node, path, `expected ${alternatives.map(describe).join(' or ')}`));
    return undefined;
  }
  issues.push(...best.issues);
  return undefined;
}

function scalarProblem(value: unknown, schema: Schema): string | undefined {
  if (schema.const !== undefined)
    return value === schema.const ? undefined : `expected ${JSON.stringify(schema.const)}${found(value)}`;
  if (schema.enum !== undefined) {
    if (schema.enum.includes(value)) return undefined;
    const near = nearest(String(value), schema.enum.map(String));
    return `${quote(value)} is not one of ${schema.enum.join(', ')}${near === undefined ? '' : `; did you mean '${near}'?`}`;
  }
  switch (schema.type) {
    case undefined:
      return undefined;
    case 'string':
      return textProblem(value, schema);
    case 'integer':
    case 'number':
      return numberProblem(value, schema);
    case 'boolean':
      return typeof value === 'boolean' ? undefined : `expected true or false${found(value)}`;
    case 'null':
      return value === null ? undefined : `expected nothing${found(value)}`;
    default:
      return `expected ${describe(schema)}${found(value)}`;
  }
}

function textProblem(value: unknown, schema: Schema): string | undefined {
  if (typeof value !== 'string') {
    const hint = typeof value === 'number' || typeof value === 'boolean' ? `; put it in quotes: '${value}'` : '';
    return `expected text${found(value)}${hint}`;
  }
  if (value.length < (schema.minLength ?? 0)) return `shorter than ${schema.minLength} characters`;
  if (value.length > (schema.maxLength ?? Infinity)) return `longer than ${schema.maxLength} characters`;
  if (schema.pattern !== undefined && !new RegExp(schema.pattern).test(value)) {
    return `${quote(value)} does not look right: ${schema.description ?? `it must match ${schema.pattern}`}`;
  }
  return undefined;
}

function numberProblem(value: unknown, schema: Schema): string | undefined {
  const { minimum = -Infinity, maximum = Infinity } = schema;
  if (typeof value !== 'number' || (schema.type === 'integer' && !Number.isInteger(value))) {
    return `expected ${schema.type === 'integer' ? 'a whole number' : 'a number'}${found(value)}`;
  }
  return value < minimum || value > maximum ? `${value} is not between ${minimum} and ${maximum}` : undefined;
}

function acceptsType(schema: Schema, type: 'object' | 'array'): boolean {
  if (schema.type !== undefined) return schema.type === type;
  return schema.enum === undefined && schema.const === undefined;
}

function unknownKey(key: string, known: readonly string[], taken: readonly string[]): string {
  // A key that is there already was hardly meant twice.
  const near =
    nearest(
      key,
      known.filter((name) => !taken.includes(name)),
    ) ?? nearest(key, known);
  if (near !== undefined) return `unknown key '${key}'; did you mean '${near}'?`;
  return `unknown key '${key}'; known here: ${known.join(', ') || 'none'}`;
}

function describe(schema: Schema): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return `one of ${schema.enum.join(', ')}`;
  const names: Record<string, string> = {
    object: `keys and values${schema.properties === undefined ? '' : ` (${Object.keys(schema.properties).join(', ')})`}`,
    array: 'a list',
    string: 'text',
    integer: 'a whole number',
    number: 'a number',
    boolean: 'true or false',
    null: 'nothing',
  };
  return names[schema.type ?? ''] ?? 'something else';
}

function found(value: unknown): string {
  return value === null || value === undefined ? ', found nothing' : `, found ${quote(value)}`;
}

function quote(value: unknown): string {
  const text = String(value);
  return `'${text.length > 60 ? `${text.slice(0, 60)}…` : text}'`;
}

function firstSentence(text: string): string {
  return /^.*?[.](?=\s|$)/s.exec(text)?.[0].replace(/\.$/, '') ?? text;
}

function issueAt(walk: Walk, node: unknown, path: readonly string[], message: string): Issue {
  return { path: path.join('/'), message, ...walk.source.position(node) };
}

// A YAML text with positions: parsed once, so that every later complaint can name a line and a column.
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';

/** A configuration larger than this is a mistake, or an attack. */
export const CONFIG_BYTES_MAX = 4 * 1024 * 1024;

export interface Issue {
  /** Where in the value, as in loadBalancers/0/listeners/1/port. */
  readonly path: string;
  readonly message: string;
  readonly line?: number;
  readonly column?: number;
}

export interface Source {
  readonly file: string;
  readonly text: string;
  readonly document: Document;
  /** Line and column, from 1, of a node; nothing when the value did not come from text. */
  position(node: unknown): { line: number; column: number } | Record<string, never>;
}

/** Parses the text; what YAML itself refuses comes back as issues. */
export function parseSource(text: string, file: string): { source: Source; issues: Issue[] } {
  const lineCounter = new LineCounter();
  if (Buffer.byteLength(text) > CONFIG_BYTES_MAX) {
    const message = `the file is larger than ${CONFIG_BYTES_MAX} bytes`;
    return { source: emptySource(file), issues: [{ path: '', message, line: 1, column: 1 }] };
  }
  const document = parseDocument(text, { lineCounter, prettyErrors: false, strict: true, uniqueKeys: true });
  const issues = document.errors.map((error): Issue => {
    const { line, col } = lineCounter.linePos(error.pos[0]);
    return { path: '', message: error.message, line, column: col };
  });
  const position = (node: unknown): { line: number; column: number } | Record<string, never> => {
    const start = rangeStart(node);
    if (start === undefined) return {};
    const { line, col } = lineCounter.linePos(start);
    return { line, column: col };
  };
  return { source: { file, text, document, position }, issues };
}

function emptySource(file: string): Source {
  return { file, text: '', document: parseDocument(''), position: () => ({}) };
}

function rangeStart(node: unknown): number | undefined {
  if (typeof node !== 'object' || node === null || !('range' in node)) return undefined;
  return Array.isArray(node.range) && typeof node.range[0] === 'number' ? node.range[0] : undefined;
}

/** The position of the deepest node on a path that the text has: what a controller's `field` points at. */
export function locate(source: Source, path: string): { line: number; column: number } | Record<string, never> {
  let node: unknown = source.document.contents;
  let at = source.position(node);
  for (const segment of path.split(/[/.[\]]+/).filter((part) => part !== '')) {
    const next = childOf(source, node, segment);
    if (next === undefined) break;
    node = next.value;
    const position = source.position(next.key ?? next.value);
    if ('line' in position) at = position;
  }
  return at;
}

function childOf(source: Source, parent: unknown, segment: string): { key?: unknown; value: unknown } | undefined {
  const node = isAlias(parent) ? parent.resolve(source.document) : parent;
  if (isMap(node)) {
    const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === segment);
    return pair === undefined ? undefined : { key: pair.key, value: pair.value };
  }
  if (isSeq(node)) {
    // A controller may call a list's item by its number, its id or its name.
    const item = /^\d+$/.test(segment)
      ? node.items[Number(segment)]
      : node.items.find((one) => isMap(one) && (one.get('id') === segment || one.get('name') === segment));
    return item === undefined ? undefined : { value: item };
  }
  return undefined;
}

/** `lb.yaml:12:5: unknown key …`, with the line itself and a mark below it. */
export function formatIssues(source: Source, issues: readonly Issue[]): string {
  const lines = source.text.split('\n');
  return issues
    .map((issue) => {
      const where = issue.line === undefined ? issue.path : `${issue.line}:${issue.column}`;
      const head = `${source.file}${where === '' ? '' : `:${where}`}: ${issue.message}`;
      const text = issue.line === undefined ? undefined : lines[issue.line - 1]?.trimEnd();
      if (text === undefined || text === '' || text.length > 200) return head;
      const mark = ' '.repeat(Math.max(0, (issue.column ?? 1) - 1));
      return `${head}\n    ${text}\n    ${mark}^`;
    })
    .join('\n');
}

// The routing table of one listener: host → domain → rule, with nginx's order as Tencent uses it (tencent-cloud.md E3).
// Domains: exact, then the longest `*.x`, then the longest `x.*`, then regexes in order, then the default domain.
// Paths: `=` exact, then the longest prefix; `^~` there stops, else regexes in order, else that prefix.
import { linearRegex } from './regex.ts';

const HOST_CACHE_MAX = 1024;
const LINEAR_PREFIXES_MAX = 8;
export const BAD_PATH = 'bad-path';

export interface RouteRule {
  readonly domain: string;
  readonly path: string;
  readonly isDefault: boolean;
}

export interface Match<R extends RouteRule> {
  readonly rule: R;
  /** The request named a directory without its slash: answer 301 to this path. */
  readonly redirectPath?: string;
}

class PathTable<R extends RouteRule> {
  readonly #exact = new Map<string, R>();
  readonly #prefixes = new Map<string, { rule: R; stops: boolean }>();
  /** Prefixes that end in a slash, by what stands before it. */
  readonly #directories = new Map<string, R>();
  readonly #regexes: { pattern: RegExp; rule: R }[] = [];
  #byLength: { prefix: string; rule: R; stops: boolean }[] = [];
  #lengths: number[] = [];
  /** The only rule is `/`: nothing needs to be looked at. */
  only: R | null = null;

  add(rule: R): void {
    // A request's path is bytes, one character each; so must a rule's be.
    const path = Buffer.from(rule.path).toString('latin1');
    if (path.startsWith('=')) this.#exact.set(path.slice(1).trim(), rule);
    else if (path.startsWith('~*')) this.#regexes.push({ pattern: linearRegex(path.slice(2).trim(), true), rule });
    else if (path.startsWith('~')) this.#regexes.push({ pattern: linearRegex(path.slice(1).trim(), false), rule });
    else {
      const stops = path.startsWith('^~');
      const prefix = stops ? path.slice(2).trim() : path;
      if (!this.#prefixes.has(prefix)) this.#prefixes.set(prefix, { rule, stops });
    }
  }

  seal(): void {
    this.#byLength = [...this.#prefixes]
      .map(([prefix, { rule, stops }]) => ({ prefix, rule, stops }))
      .sort((a, b) => b.prefix.length - a.prefix.length);
    for (const [prefix, { rule }] of this.#prefixes) {
      const path = prefix.slice(0, -1);
      if (prefix.endsWith('/') && !this.#prefixes.has(path)) this.#directories.set(path, rule);
    }
    this.#lengths = [...new Set(this.#byLength.map(({ prefix }) => prefix.length))];
    const root = this.#prefixes.get('/');
    const isRootAlone = this.#prefixes.size === 1 && this.#exact.size === 0 && this.#regexes.length === 0;
    this.only = root !== undefined && isRootAlone ? root.rule : null;
  }

  find(path: string): Match<R> | null {
    const exact = this.#exact.get(path);
    if (exact !== undefined) return { rule: exact };
    // Tencent's slash rule (E3): a rule `/abc/` answers `/abc` with a redirect, before a shorter prefix or a regex takes it.
    const directory = this.#directories.get(path);
    if (directory !== undefined) return { rule: directory, redirectPath: `${path}/` };
    const prefix = this.#longest(path);
    if (prefix?.stops) return { rule: prefix.rule };
    for (const { pattern, rule } of this.#regexes) if (pattern.test(path)) return { rule };
    return prefix === null ? null : { rule: prefix.rule };
  }

  #longest(path: string): { rule: R; stops: boolean } | null {
    if (this.#byLength.length <= LINEAR_PREFIXES_MAX) {
      for (const row of this.#byLength) if (path.startsWith(row.prefix)) return row;
      return null;
    }
    for (const length of this.#lengths) {
      if (length > path.length) continue;
      const row = this.#prefixes.get(path.slice(0, length));
      if (row !== undefined) return row;
    }
    return null;
  }
}

export class RouteTable<R extends RouteRule> {
  readonly #exact = new Map<string, PathTable<R>>();
  /** `*.x`, by `.x`; then `x.*`, by `x.`. */
  readonly #suffixes = new Map<string, PathTable<R>>();
  readonly #prefixes = new Map<string, PathTable<R>>();
  readonly #regexes: { pattern: RegExp; paths: PathTable<R> }[] = [];
  #fallback: PathTable<R> | null = null;
  /** The only rule there is takes every host and every path. */
  readonly single: R | null;
  readonly rules: readonly R[];
  readonly #cache = new Map<string, PathTable<R> | null>();

  constructor(rules: readonly R[]) {
    this.rules = rules;
    const tables = new Map<string, PathTable<R>>();
    let fallback: PathTable<R> | null = null;
    for (const rule of rules) {
      const domain = rule.domain.startsWith('~') ? rule.domain : rule.domain.toLowerCase();
      let paths = tables.get(domain);
      if (paths === undefined) {
        paths = new PathTable();
        tables.set(domain, paths);
        this.#addDomain(domain, paths);
      }
      paths.add(rule);
      if (rule.isDefault) fallback ??= paths;
    }
    this.#fallback = fallback ?? tables.get('') ?? null;
    for (const paths of tables.values()) paths.seal();
    this.single = tables.size === 1 ? (this.#fallback?.only ?? null) : null;
  }

  #addDomain(domain: string, paths: PathTable<R>): void {
    if (domain === '') return;
    if (domain.startsWith('~')) this.#regexes.push({ pattern: linearRegex(domain.slice(1).trim(), true), paths });
    else if (domain.startsWith('*.')) this.#suffixes.set(domain.slice(1), paths);
    else if (domain.endsWith('.*')) this.#prefixes.set(domain.slice(0, -1), paths);
    else this.#exact.set(domain, paths);
  }

  /** `host` as the request has it; `target` begins with `/` and may carry a query. Null: no rule; BAD_PATH: no such path can be. */
  find(host: string, target: string): Match<R> | null | typeof BAD_PATH {
    const paths = this.#domain(host);
    if (paths === null) return null;
    if (paths.only !== null) return { rule: paths.only };
    const path = normalPath(target);
    return path === null ? BAD_PATH : paths.find(path);
  }

  /** The rule when the host alone decides it, without making a string of the path. */
  findByHost(host: string): R | null {
    return this.#domain(host)?.only ?? null;
  }

  #domain(host: string): PathTable<R> | null {
    const known = this.#cache.get(host);
    if (known !== undefined) return known;
    const found = this.#lookup(normalHost(host)) ?? this.#fallback;
    // Clients choose hosts, so the cache is thrown away whole when it is full.
    if (this.#cache.size >= HOST_CACHE_MAX) this.#cache.clear();
    this.#cache.set(host, found);
    return found;
  }

  #lookup(host: string): PathTable<R> | null {
    const exact = this.#exact.get(host);
    if (exact !== undefined) return exact;
    if (this.#suffixes.size > 0) {
      for (let dot = host.indexOf('.'); dot >= 0; dot = host.indexOf('.', dot + 1)) {
        const paths = dot > 0 ? this.#suffixes.get(host.slice(dot)) : undefined;
        if (paths !== undefined) return paths;
      }
    }
    if (this.#prefixes.size > 0) {
      for (let dot = host.lastIndexOf('.'); dot > 0; dot = host.lastIndexOf('.', dot - 1)) {
        const paths = dot < host.length - 1 ? this.#prefixes.get(host.slice(0, dot + 1)) : undefined;
        if (paths !== undefined) return paths;
      }
    }
    for (const { pattern, paths } of this.#regexes) if (pattern.test(host)) return paths;
    return null;
  }
}

/** Lower case, without port and without the root dot. */
export function normalHost(host: string): string {
  let name = host.toLowerCase();
  const colon = name.startsWith('[') ? name.indexOf(':', name.indexOf(']')) : name.indexOf(':');
  if (colon >= 0) name = name.slice(0, colon);
  return name.endsWith('.') ? name.slice(0, -1) : name;
}

/**
 * The path that rules are matched against: decoded once, slashes merged, dot segments resolved. The request itself is
 * forwarded byte by byte as it came. Null: it climbs above the root or is not decodable.
 */
export function normalPath(target: string): string | null {
  const query = target.indexOf('?');
  let path = query < 0 ? target : target.slice(0, query);
  if (path.includes('%')) {
    if (/%(?![0-9a-f]{2})|%00/i.test(path)) return null;
    path = path.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  }
  if (!path.includes('//') && !path.includes('/.')) return path;
  const kept: string[] = [];
  const segments = path.split('/');
  for (let index = 1; index < segments.length; index++) {
    const segment = segments[index]!;
    const isLast = index === segments.length - 1;
    if (segment === '..') {
      if (kept.pop() === undefined) return null;
      if (isLast) kept.push('');
    } else if (segment === '.' || segment === '') {
      if (isLast) kept.push('');
    } else kept.push(segment);
  }
  return `/${kept.join('/')}`;
}

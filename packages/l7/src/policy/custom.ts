// Personalised configs (tencent-cloud.md E4; model/custom-config.ts) → limits of the listener, policies of its rules, and the fields
// that answers of the proxy itself carry too.
import { existsSync, readFileSync } from 'node:fs';
import type { CustomConfig, RulePolicy } from '@openclb/model';
import type { Limits } from '../limits.ts';
import type { Exchange } from '../state.ts';
import type { OwnAnswer } from './compile.ts';
import { Template } from './template.ts';

interface Added {
  readonly name: string;
  readonly value: Template;
  /** Without it, only what succeeded or redirects carries the field (nginx's add_header). */
  readonly always: boolean;
}

export interface CompiledCustom {
  readonly added: readonly Added[];
  /** The Server field; null: the target's own, or none. */
  readonly server: string | null;
  readonly redirectsToHttps: boolean;
  readonly forwardedProto: string | null;
  /** Set on answers of the proxy itself; on those of targets they are edits of the rule. */
  readonly set: readonly Added[];
  /** Stand behind those of rules, and where no rule was found. */
  readonly errorPages: ReadonlyMap<number, OwnAnswer>;
}

export function compileCustom(custom: CustomConfig | undefined): CompiledCustom | null {
  if (custom === undefined) return null;
  const { addedHeaders = [], setHeaders = [], serverTokens } = custom;
  return {
    added: addedHeaders.map(({ name, value, always }) => ({ name, value: new Template(value), always })),
    set: setHeaders.map(({ name, value }) => ({ name, value: new Template(value), always: true })),
    server: serverTokens === undefined ? null : serverTokens ? `openclb/${version}` : 'openclb',
    redirectsToHttps: custom.redirectsToHttps ?? false,
    forwardedProto: custom.forwardedProto ?? null,
    errorPages: new Map(
      (custom.errorPages ?? []).flatMap(({ codes, status, location }) =>
        codes.map((code) => [code, { status, fields: `Location: ${location}\r\n`, body: '' }] as const),
      ),
    ),
  };
}

/** Whether answers of targets are edited beyond the rule's own edits. */
export function editsAnswers({ added, redirectsToHttps, server }: CompiledCustom): boolean {
  return added.length > 0 || redirectsToHttps || server !== null;
}

/** The proxy's limits with those of a listener before them. */
export function limitsOf(base: Limits, custom: CustomConfig | undefined): Limits {
  if (custom === undefined) return base;
  const { headBytesMax, h2FieldBytesMax } = custom;
  return {
    ...base,
    headTimeoutMs: custom.headTimeoutMs ?? base.headTimeoutMs,
    // nginx falls back on larger buffers (4 × 8k), which nobody may configure: a smaller first buffer refuses nothing.
    headBytesMax: Math.max(base.headBytesMax, headBytesMax ?? 0, h2FieldBytesMax ?? 0),
    bodyTimeoutMs: custom.bodyTimeoutMs ?? base.bodyTimeoutMs,
    bodyBytesMax: custom.bodyBytesMax ?? base.bodyBytesMax,
    keepAliveTimeoutMs: custom.keepAliveTimeoutMs ?? base.keepAliveTimeoutMs,
    requestsPerConnectionMax: custom.requestsPerConnectionMax ?? base.requestsPerConnectionMax,
    sendTimeoutMs: custom.sendTimeoutMs ?? base.sendTimeoutMs,
    responseHeadBytesMax: custom.responseHeadBytesMax ?? base.responseHeadBytesMax,
    h2FieldBytesMax: h2FieldBytesMax ?? base.h2FieldBytesMax,
  };
}

/** What a rule says itself stands before what its listener says for all. */
export function withCustom(policy: RulePolicy | undefined, custom: CustomConfig | undefined): RulePolicy | undefined {
  if (custom === undefined) return policy;
  const { bodyBytesMax, buffersRequest, connectTimeoutMs, readTimeoutMs, requestTimeoutMs } = custom;
  const times = {
    ...(connectTimeoutMs === undefined ? {} : { connectMs: connectTimeoutMs }),
    ...(requestTimeoutMs === undefined ? {} : { sendMs: requestTimeoutMs }),
    ...(readTimeoutMs === undefined ? {} : { firstByteMs: readTimeoutMs, readMs: readTimeoutMs }),
  };
  const joined: RulePolicy = {
    ...(bodyBytesMax === undefined ? {} : { bodyBytesMax }),
    ...(buffersRequest === undefined ? {} : { requestBuffering: buffersRequest }),
    ...policy,
    ...(Object.keys(times).length === 0 ? {} : { timeouts: { ...times, ...policy?.timeouts } }),
  };
  const set = (fields: CustomConfig['setHeaders']): NonNullable<RulePolicy['responseHeaders']> =>
    (fields ?? []).map(({ name, value }) => ({ action: 'set', name, value }));
  if (custom.requestHeaders !== undefined) {
    joined.requestHeaders = [...set(custom.requestHeaders), ...(policy?.requestHeaders ?? [])];
  }
  if (custom.setHeaders !== undefined) {
    joined.responseHeaders = [...set(custom.setHeaders), ...(policy?.responseHeaders ?? [])];
  }
  return joined;
}

const ADDED_TO: ReadonlySet<number> = new Set([200, 201, 204, 206, 301, 302, 303, 304, 307, 308]);

/** Lines of add_header for a response of this status. */
export function addedLines({ added }: CompiledCustom, exchange: Exchange, status: number): string {
  let text = '';
  for (const { name, value, always } of added) {
    if (always || ADDED_TO.has(status)) text += `${name}: ${value.render(exchange)}\r\n`;
  }
  return text;
}

/** Lines that an answer of the proxy itself carries. */
export function ownLines(exchange: Exchange, status: number): string {
  const custom = exchange.listener?.custom ?? null;
  if (custom === null) return '';
  let text = custom.server === null ? '' : `Server: ${custom.server}\r\n`;
  for (const { name, value } of custom.set) text += `${name}: ${value.render(exchange)}\r\n`;
  return text + addedLines(custom, exchange, status);
}

// The manifest lies two folders up from src/policy, one or two from dist.
const place = ['../../package.json', '../package.json']
  .map((path) => new URL(path, import.meta.url))
  .find((url) => existsSync(url));
const version =
  place === undefined ? '0' : ((JSON.parse(readFileSync(place, 'utf8')) as { version?: string }).version ?? '0');

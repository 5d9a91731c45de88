// RulePolicy and ListenerPolicy (model) → what the walk uses: patterns, templates and networks made once an image.
import type { HeaderEdit, ListenerPolicy, RulePolicy } from '@openclb/model';
import { linearRegex } from '../regex.ts';
import { Compressor, compressorOf } from './compress.ts';
import { type CompiledCustom, editsAnswers } from './custom.ts';
import { type Guard, guardOf } from './guard.ts';
import { type Networks, networksOf } from './networks.ts';
import { Sticky } from './sticky.ts';
import type { Group } from '../scheduler.ts';
import { type CompiledUpstream, compileUpstream } from '../upstream/compile.ts';
import { Template } from './template.ts';

export interface OwnAnswer {
  readonly status: number;
  /** Whole lines. */
  readonly fields: string;
  readonly body: string;
}

export interface CompiledEdits {
  /** Names in lower case whose fields go. */
  readonly drops: ReadonlySet<string>;
  readonly adds: readonly { readonly name: string; readonly value: Template }[];
}

export interface CompiledPolicy {
  readonly policy: RulePolicy;
  readonly guard: Guard | null;
  readonly redirect: { readonly status: number; readonly to: Template; readonly pattern: RegExp | null } | null;
  readonly respond: OwnAnswer | null;
  readonly rewrite: { readonly pattern: RegExp; readonly to: Template } | null;
  readonly errorPages: ReadonlyMap<number, OwnAnswer> | null;
  readonly bodyBytesMax: number | null;
  readonly sticky: Sticky | null;
  readonly hash: NonNullable<RulePolicy['hash']> | null;
  readonly requestEdits: CompiledEdits | null;
  readonly responseEdits: CompiledEdits | null;
  readonly compressor: Compressor | null;
  /** What is asked of the targets' side; null: one try in plain HTTP/1.1 with the proxy's own time-outs. */
  readonly upstream: CompiledUpstream | null;
  readonly custom: CompiledCustom | null;
  /** The body is collected before a target is asked. */
  readonly buffersRequest: boolean;
  /** Something is done to responses. */
  readonly editsResponse: boolean;
}

export interface CompiledListenerPolicy {
  readonly policy: ListenerPolicy;
  readonly guard: Guard | null;
  readonly redirect: { readonly status: number; readonly to: Template } | null;
  /** Where PROXY headers come from. */
  readonly proxyFrom: Networks | null;
  readonly connectionsMax: number;
  readonly connectionsPerClientMax: number;
  readonly accessLogShare: number;
}

const FORWARDED: HeaderEdit = {
  action: 'set',
  name: 'Forwarded',
  value: 'for=$forwarded_for;by=$forwarded_by;host="$http_host";proto=$scheme',
};

/** Throws a RangeError for what cannot be done. Null: there is nothing to do. */
export function compilePolicy(
  given: RulePolicy | undefined,
  path: string,
  listener: ListenerPolicy | undefined,
  before: CompiledPolicy | null,
  groupOf: (id: string) => Group,
  custom: CompiledCustom | null = null,
): CompiledPolicy | null {
  const isForwarded = listener?.forwarded === true;
  if ((given === undefined || Object.keys(given).every((key) => key === 'match')) && !isForwarded && custom === null) {
    return null;
  }
  const policy = given ?? {};
  const { bodyBytesMax = null, compression, hash = null, redirect, respond, rewrite, stickiness } = policy;
  const sticky = stickiness === undefined ? null : new Sticky(stickiness);
  const responseEdits = editsOf(policy.responseHeaders ?? []);
  const compressor = compressorOf(compression);
  return {
    policy,
    guard: guardOf(policy, before),
    redirect:
      redirect?.to === undefined
        ? null
        : { status: redirect.code ?? 302, to: new Template(redirect.to), pattern: patternOf(redirect.pattern, path) },
    respond: respond === undefined ? null : answerOf(respond.status, respond.contentType, respond.body),
    rewrite:
      rewrite === undefined ? null : { pattern: linearRegex(rewrite.pattern, false), to: new Template(rewrite.to) },
    errorPages: pagesOf(policy.errorPages, 'proxy'),
    bodyBytesMax,
    sticky,
    hash,
    requestEdits: editsOf([...(policy.requestHeaders ?? []), ...(isForwarded ? [FORWARDED] : [])]),
    responseEdits,
    compressor,
    upstream: compileUpstream(policy, pagesOf(policy.errorPages, 'target'), groupOf, before?.upstream ?? null),
    custom,
    buffersRequest: policy.requestBuffering ?? false,
    editsResponse:
      responseEdits !== null ||
      compressor !== null ||
      (sticky !== null && sticky.type !== 'source') ||
      (custom !== null && editsAnswers(custom)),
  };
}

export function compileListenerPolicy(
  policy: ListenerPolicy | undefined,
  before: CompiledListenerPolicy | null,
): CompiledListenerPolicy | null {
  if (policy === undefined || Object.keys(policy).length === 0) return null;
  const https = policy.redirectToHttps;
  const port = https?.port === undefined || https.port === 443 ? '' : `:${https.port}`;
  return {
    policy,
    guard: guardOf(policy, before),
    proxyFrom: networksOf(policy.proxyProtocolFrom),
    connectionsMax: policy.connectionsMax ?? Infinity,
    connectionsPerClientMax: policy.connectionsPerClientMax ?? Infinity,
    accessLogShare: policy.accessLogShare ?? 1,
    redirect:
      https === undefined ? null : { status: https.code ?? 301, to: new Template(`https://$host${port}$request_uri`) },
  };
}

function patternOf(pattern: string | undefined, path: string): RegExp | null {
  if (pattern !== undefined) return linearRegex(pattern, false);
  if (!path.startsWith('~')) return null;
  return linearRegex(path.replace(/^~\*?/, '').trim(), path.startsWith('~*'));
}

function answerOf(status: number, contentType = 'text/plain; charset=utf-8', body = ''): OwnAnswer {
  return { status, fields: body === '' ? '' : `Content-Type: ${contentType}\r\n`, body };
}

/** Pages for answers of the proxy itself, or for those of targets. */
function pagesOf(pages: RulePolicy['errorPages'], whose: 'proxy' | 'target'): ReadonlyMap<number, OwnAnswer> | null {
  const suited = (pages ?? []).filter(({ of = 'proxy' }) => of === whose || of === 'both');
  if (suited.length === 0) return null;
  const byStatus = new Map<number, OwnAnswer>();
  for (const { codes, status, contentType = 'text/html; charset=utf-8', body, location } of suited) {
    for (const code of codes) {
      if (byStatus.has(code)) continue;
      const page =
        location === undefined
          ? answerOf(status ?? code, contentType, body)
          : { status: status ?? 302, fields: `Location: ${location}\r\n`, body: '' };
      byStatus.set(code, page);
    }
  }
  return byStatus;
}

function editsOf(edits: readonly HeaderEdit[]): CompiledEdits | null {
  if (edits.length === 0) return null;
  const drops = new Set<string>();
  const adds: { name: string; value: Template }[] = [];
  for (const { action, name, value = '' } of edits) {
    if (action !== 'add') drops.add(name.toLowerCase());
    if (action !== 'remove') adds.push({ name, value: new Template(value) });
  }
  return { drops, adds };
}

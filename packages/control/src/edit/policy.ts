// What schemas cannot say about the policy of a rule or a listener (model/rule-policy.ts).
import { setFlagsFromString } from 'node:v8';
import {
  canonicalJson,
  type HeaderEdit,
  type ListenerPolicy,
  type ListenerProtocol,
  POLICY_VARIABLES,
  parseAddress,
  parseCidr,
  type RateLimit,
  type RulePolicy,
} from '@openclb/model';
import { reject } from './context.ts';

/** Framing and identity are the proxy's own. */
const PROTECTED = new Set(
  (
    'host content-length transfer-encoding connection keep-alive upgrade te trailer expect proxy-connection ' +
    'x-real-ip x-forwarded-for x-client-proto x-forwarded-proto'
  ).split(' '),
);
const VARIABLES: ReadonlySet<string> = new Set(POLICY_VARIABLES);

/** The rule needs no target. */
export function answersItself(policy: RulePolicy | undefined): boolean {
  return policy?.redirect !== undefined || policy?.respond !== undefined;
}

/** Tells rules of one domain and path apart. */
export function conditionOf(policy: RulePolicy | undefined): string {
  return policy?.match === undefined ? '' : `?${canonicalJson(policy.match)}`;
}

export function checkRulePolicy(policy: RulePolicy, path: string): void {
  const { match, redirect, respond, rewrite, hash, stickiness } = policy;
  if (redirect !== undefined && respond !== undefined) reject('/policy/respond', 'excludes redirect');
  if (redirect !== undefined && (redirect.to === undefined) === (redirect.rule === undefined)) {
    reject('/policy/redirect', 'needs exactly one of to and rule');
  }
  if (redirect?.pattern !== undefined) checkRegex('/policy/redirect/pattern', redirect.pattern);
  checkText('/policy/redirect/to', redirect?.to);
  checkText('/policy/rewrite/to', rewrite?.to);
  const capturesNothing = redirect?.pattern === undefined && !path.startsWith('~');
  if (capturesNothing && /\$[1-9]/.test(redirect?.to ?? '')) {
    reject('/policy/redirect/to', 'names a capture, but neither a pattern nor the path captures any');
  }
  if (rewrite !== undefined) checkRegex('/policy/rewrite/pattern', rewrite.pattern);
  for (const kind of ['headers', 'cookies', 'query'] as const) {
    for (const [index, { value, regex }] of (match?.[kind] ?? []).entries()) {
      const field = `/policy/match/${kind}/${index}`;
      if (value !== undefined && regex !== undefined) reject(field, 'has value or regex, not both');
      if (regex !== undefined) checkRegex(`${field}/regex`, regex);
    }
  }
  checkNetworks('/policy/match/sources', match?.sources);
  checkAccess(policy);
  checkEdits('/policy/requestHeaders', policy.requestHeaders);
  checkEdits('/policy/responseHeaders', policy.responseHeaders);
  if ((hash?.by === 'header' || hash?.by === 'cookie') && hash.name === undefined) {
    reject('/policy/hash/name', `is needed to hash by ${hash.by}`);
  }
  if (stickiness?.type === 'rewrite' && stickiness.cookie === undefined) {
    reject('/policy/stickiness/cookie', "must name the target's cookie");
  }
}

export function checkListenerPolicy(protocol: ListenerProtocol, policy: ListenerPolicy): void {
  if (protocol !== 'HTTP' && protocol !== 'HTTPS') reject('/policy', 'belongs to HTTP and HTTPS listeners');
  if (policy.redirectToHttps !== undefined && protocol !== 'HTTP') {
    reject('/policy/redirectToHttps', 'belongs to HTTP listeners');
  }
  checkAccess(policy);
  checkNetworks('/policy/proxyProtocolFrom', policy.proxyProtocolFrom);
}

interface Access {
  readonly allow?: string[];
  readonly deny?: string[];
  readonly rates?: RateLimit[];
}

function checkAccess({ allow, deny, rates }: Access): void {
  checkNetworks('/policy/allow', allow);
  checkNetworks('/policy/deny', deny);
  for (const [index, { by, header }] of (rates ?? []).entries()) {
    if ((by === 'header') !== (header !== undefined)) {
      reject(`/policy/rates/${index}/header`, 'belongs to, and is needed by, rates by header');
    }
  }
}

export function checkNetworks(field: string, texts: readonly string[] | undefined): void {
  for (const [index, text] of (texts ?? []).entries()) {
    const isNetwork = text.includes('/') ? parseCidr(text) !== undefined : parseAddress(text) !== undefined;
    if (!isNetwork) reject(`${field}/${index}`, `${text} is neither an address nor a prefix with zero host bits`);
  }
}

function checkEdits(field: string, edits: readonly HeaderEdit[] | undefined): void {
  for (const [index, { action, name, value }] of (edits ?? []).entries()) {
    if (PROTECTED.has(name.toLowerCase())) reject(`${field}/${index}/name`, `${name} is written by the proxy itself`);
    if ((action === 'remove') !== (value === undefined)) {
      reject(`${field}/${index}/value`, action === 'remove' ? 'does not belong to remove' : `is needed by ${action}`);
    }
    checkText(`${field}/${index}/value`, value);
  }
}

/** Every variable is one that nodes know: they refuse an image with another one whole. */
function checkText(field: string, text = ''): void {
  for (const [whole, name = ''] of text.matchAll(/\$([a-z_]+)/g)) {
    if (!VARIABLES.has(name)) reject(field, `${whole} is no variable`, `Known are ${POLICY_VARIABLES.join(', ')}.`);
  }
}

const LINEAR = 'l';
let isEnabled = false;

/** By the very engine that proxies use (V8's linear one): what it refuses would make them refuse the whole image. */
export function checkRegex(field: string, source: string): void {
  if (!isEnabled) setFlagsFromString('--enable-experimental-regexp-engine');
  isEnabled = true;
  try {
    void new RegExp(source, LINEAR);
  } catch {
    reject(
      field,
      `${source} is not a regular expression that runs in linear time`,
      'Leave out back-references, look-around, inline flags and large repetitions.',
    );
  }
}

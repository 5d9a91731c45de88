// The whitelist of personalised configs with its ranges (tencent-cloud.md E4): one row a directive, which reads its words into a setting.
import type { CustomConfig, CustomTls } from './custom-config.ts';
import { type Directive, SyntaxProblem, type Word } from './nginx-syntax.ts';
import { POLICY_VARIABLES } from './rule-policy.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export interface CustomSetting {
  readonly config: Mutable<CustomConfig>;
  readonly tls: Mutable<CustomTls>;
  bufferBytes?: number;
  buffers?: { readonly count: number; readonly bytes: number };
}

type Read = (setting: CustomSetting, words: readonly Word[], name: Word) => void;
type NumberKey = {
  [K in keyof CustomConfig]-?: CustomConfig[K] extends number | undefined ? K : never;
}[keyof CustomConfig];
type FlagKey = {
  [K in keyof CustomConfig]-?: CustomConfig[K] extends boolean | undefined ? K : never;
}[keyof CustomConfig];

const KIB = 1024;
const MIB = 1024 * KIB;

/** Directives by name, with what is said of them in the reference. */
export const CUSTOM_DIRECTIVES: Readonly<Record<string, { readonly range: string; readonly read: Read }>> = {
  ssl_protocols: { range: 'TLSv1 TLSv1.1 TLSv1.2 TLSv1.3, without a gap', read: readProtocols },
  ssl_ciphers: { range: 'an OpenSSL cipher list', read: readCiphers },
  ssl_verify_depth: {
    range: '1–10 (1)',
    read: ({ tls }, words, name) => (tls.verifyDepth = integer(one(words, name), 1, 10)),
  },
  ssl_early_data: { range: 'on, off (off)', read: (_, words, name) => void flag(one(words, name)) },
  client_header_timeout: time('headTimeoutMs', 30, 120),
  client_header_buffer_size: size('headBytesMax', KIB, 256 * KIB, '1k–256k (4k)'),
  client_body_timeout: time('bodyTimeoutMs', 30, 120),
  client_max_body_size: size('bodyBytesMax', MIB, 10_240 * MIB, '1M–10240M (60M); above 256M only unbuffered'),
  keepalive_timeout: time('keepAliveTimeoutMs', 0, 3600),
  keepalive_requests: {
    range: '1–10000 (100)',
    read: ({ config }, words, name) => (config.requestsPerConnectionMax = integer(one(words, name), 1, 10_000)),
  },
  send_timeout: time('sendTimeoutMs', 1, 3600),
  proxy_connect_timeout: time('connectTimeoutMs', 4, 120),
  proxy_read_timeout: time('readTimeoutMs', 30, 3600),
  proxy_send_timeout: time('requestTimeoutMs', 30, 3600),
  proxy_buffer_size: {
    range: '1k–64k (4k)',
    read: (setting, words, name) => {
      setting.bufferBytes = sizeOf(one(words, name), KIB, 64 * KIB);
      setting.config.responseHeadBytesMax = setting.bufferBytes;
    },
  },
  proxy_buffers: { range: '3–8 of 4k–8k (8 4k)', read: readBuffers },
  proxy_request_buffering: onOff('buffersRequest'),
  proxy_redirect: { range: 'http:// https://', read: readRedirect },
  proxy_set_header: { range: 'the pairs below', read: readRequestHeader },
  add_header: { range: 'name value [always]', read: readAddHeader },
  more_set_headers: { range: '"name: value" …', read: readSetHeaders },
  server_tokens: onOff('serverTokens'),
  http2_max_field_size: size('h2FieldBytesMax', KIB, 256 * KIB, '1k–256k (4k)'),
  error_page: { range: 'code … [=301, 302, 303, 307, 308] /uri', read: readErrorPage },
};

/** What targets may be told beside what every request carries. */
export const CUSTOM_REQUEST_HEADERS: Readonly<Record<string, readonly string[]>> = {
  'X-Real-Port': ['$remote_port'],
  'X-clb-stgw-vip': ['$server_addr'],
  'Stgw-request-id': ['$stgw_request_id'],
  'X-Forwarded-Port': ['$vport'],
  'X-Method': ['$request_method'],
  'X-Uri': ['$uri'],
  'X-Forwarded-Proto': ['$scheme', 'http', 'https'],
};

export function readDirective(setting: CustomSetting, { name, words }: Directive): void {
  const row = Object.hasOwn(CUSTOM_DIRECTIVES, name.text) ? CUSTOM_DIRECTIVES[name.text] : undefined;
  if (row === undefined) {
    fail(name, `${name.text} is not allowed here. Allowed are ${Object.keys(CUSTOM_DIRECTIVES).join(', ')}`);
  }
  row.read(setting, words, name);
}

function fail(word: Word, reason: string): never {
  throw new SyntaxProblem(word.line, word.column, reason);
}

function one(words: readonly Word[], name: Word): Word {
  const [word, extra] = words;
  if (word === undefined) fail(name, `${name.text} needs a value`);
  if (extra !== undefined) fail(extra, `${name.text} takes one value`);
  return word;
}

function flag(word: Word): boolean {
  if (word.text !== 'on' && word.text !== 'off') fail(word, `${word.text} is neither on nor off`);
  return word.text === 'on';
}

function integer(word: Word, least: number, most: number): number {
  const value = /^\d{1,9}$/.test(word.text) ? Number(word.text) : Number.NaN;
  if (!(value >= least && value <= most)) fail(word, `${word.text} is no whole number from ${least} to ${most}`);
  return value;
}

/** Seconds; `s`, `m`, `h` and `ms` may stand behind (nginx's measurement units). */
function time(key: NumberKey, least: number, most: number) {
  const read: Read = ({ config }, words, name) => {
    const word = one(words, name);
    const match = /^(\d{1,9})(ms|s|m|h)?$/.exec(word.text);
    if (match === null) fail(word, `${word.text} is no time: write 60, 60s or 1m`);
    const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] ?? 's']!;
    const value = Number(match[1]) * unit;
    if (value < least * 1000 || value > most * 1000) fail(word, `${word.text} is not between ${least}s and ${most}s`);
    config[key] = value;
  };
  return { range: `${least}–${most} s`, read };
}

function sizeOf(word: Word, least: number, most: number): number {
  const match = /^(\d{1,11})([kmg])?$/i.exec(word.text);
  if (match === null) fail(word, `${word.text} is no size: write 4k or 1m`);
  const unit = { k: KIB, m: MIB, g: KIB * MIB }[match[2]?.toLowerCase() ?? ''] ?? 1;
  const value = Number(match[1]) * unit;
  if (value < least || value > most) fail(word, `${word.text} is not between ${shown(least)} and ${shown(most)}`);
  return value;
}

const shown = (value: number): string => (value >= MIB ? `${value / MIB}m` : `${value / KIB}k`);

function size(key: NumberKey, least: number, most: number, range: string) {
  const read: Read = ({ config }, words, name) => (config[key] = sizeOf(one(words, name), least, most));
  return { range, read };
}

function onOff(key: FlagKey) {
  const read: Read = ({ config }, words, name) => (config[key] = flag(one(words, name)));
  return { range: 'on, off', read };
}

const VERSIONS = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'] as const;

function readProtocols({ tls }: CustomSetting, words: readonly Word[], name: Word): void {
  if (words.length === 0) fail(name, 'ssl_protocols needs a version');
  const indexes = words.map((word) => {
    const index = VERSIONS.indexOf(word.text as (typeof VERSIONS)[number]);
    if (index >= 0) return index;
    const reason = /^SSL/i.test(word.text) ? 'is broken and not spoken' : 'is no version';
    return fail(word, `${word.text} ${reason}; write any of ${VERSIONS.join(' ')}`);
  });
  const [least, most] = [Math.min(...indexes), Math.max(...indexes)];
  const gap = VERSIONS.slice(least, most).find((_, offset) => !indexes.includes(least + offset));
  if (gap !== undefined) fail(name, `${gap} is missing between ${VERSIONS[least]} and ${VERSIONS[most]}`);
  tls.minVersion = VERSIONS[least]!;
  tls.maxVersion = VERSIONS[most]!;
}

function readCiphers({ tls }: CustomSetting, words: readonly Word[], name: Word): void {
  const word = one(words, name);
  if (!/^[A-Za-z0-9_:+!@=-]{1,2000}$/.test(word.text)) fail(word, 'this is no OpenSSL cipher list');
  tls.ciphers = word.text;
}

function readBuffers(setting: CustomSetting, words: readonly Word[], name: Word): void {
  const [count, bytes, extra] = words;
  if (count === undefined || bytes === undefined) fail(name, 'proxy_buffers needs a number and a size: 8 4k');
  if (extra !== undefined) fail(extra, 'proxy_buffers takes a number and a size');
  setting.buffers = { count: integer(count, 3, 8), bytes: sizeOf(bytes, 4 * KIB, 8 * KIB) };
}

function readRedirect({ config }: CustomSetting, words: readonly Word[], name: Word): void {
  if (words.length !== 2 || words[0]!.text !== 'http://' || words[1]!.text !== 'https://') {
    fail(words[0] ?? name, 'only proxy_redirect http:// https:// is allowed');
  }
  config.redirectsToHttps = true;
}

function readRequestHeader({ config }: CustomSetting, words: readonly Word[], name: Word): void {
  const [field, value, extra] = words;
  if (field === undefined || value === undefined) fail(name, 'proxy_set_header needs a name and a variable');
  if (extra !== undefined) fail(extra, 'proxy_set_header takes a name and a variable');
  const known = Object.keys(CUSTOM_REQUEST_HEADERS).find((key) => key.toLowerCase() === field.text.toLowerCase());
  if (known === undefined) {
    fail(field, `${field.text} may not be set. Allowed are ${Object.keys(CUSTOM_REQUEST_HEADERS).join(', ')}`);
  }
  const values = CUSTOM_REQUEST_HEADERS[known]!;
  if (!values.includes(value.text)) fail(value, `${known} may be ${values.join(', ')}, not ${value.text}`);
  if (known === 'X-Forwarded-Proto') {
    if (value.text !== '$scheme') config.forwardedProto = value.text as 'http' | 'https';
    return;
  }
  config.requestHeaders = [...(config.requestHeaders ?? []), { name: known, value: value.text }];
}

const FIELD_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/;
const FRAMING = /^(?:content-length|transfer-encoding|connection|keep-alive|upgrade|te|trailer|proxy-connection)$/i;
const KNOWN_VARIABLES: ReadonlySet<string> = new Set(POLICY_VARIABLES);

function checkField(at: Word, name: string, value: string): void {
  if (!FIELD_NAME.test(name)) fail(at, `${name} is no name of a header field`);
  if (FRAMING.test(name)) fail(at, `${name} is written by the proxy itself`);
  if (value.length > 1024 || !/^[\t -~]*$/.test(value)) fail(at, `the value of ${name} must be plain ASCII`);
  for (const [whole, variable = ''] of value.matchAll(/\$([a-z_]+)/g)) {
    if (!KNOWN_VARIABLES.has(variable)) fail(at, `${whole} is no variable. Known are ${POLICY_VARIABLES.join(', ')}`);
  }
}

function readAddHeader({ config }: CustomSetting, words: readonly Word[], name: Word): void {
  const [field, value, always, extra] = words;
  if (field === undefined || value === undefined) fail(name, 'add_header needs a name and a value');
  if (always !== undefined && always.text !== 'always') fail(always, `${always.text} is not always`);
  if (extra !== undefined) fail(extra, 'add_header takes a name, a value and always');
  checkField(field, field.text, value.text);
  const row = { name: field.text, value: value.text, always: always !== undefined };
  config.addedHeaders = [...(config.addedHeaders ?? []), row];
}

function readSetHeaders({ config }: CustomSetting, words: readonly Word[], name: Word): void {
  if (words.length === 0) fail(name, 'more_set_headers needs "name: value"');
  for (const word of words) {
    const colon = word.text.indexOf(':');
    if (word.text.startsWith('-') || colon <= 0) fail(word, `${word.text} is not "name: value"`);
    const field = { name: word.text.slice(0, colon).trim(), value: word.text.slice(colon + 1).trim() };
    checkField(word, field.name, field.value);
    config.setHeaders = [...(config.setHeaders ?? []), field];
  }
}

const REDIRECTS = [301, 302, 303, 307, 308];

function readErrorPage({ config }: CustomSetting, words: readonly Word[], name: Word): void {
  const uri = words.at(-1);
  if (uri === undefined || words.length < 2) fail(name, 'error_page needs a code and a URI: error_page 404 /lost.html');
  if (!/^\/(?!\/)[!-~]{0,498}$/.test(uri.text)) fail(uri, `${uri.text} is no URI that begins with one /`);
  let status = 302;
  const codes: number[] = [];
  for (const word of words.slice(0, -1)) {
    if (!word.text.startsWith('=')) codes.push(integer(word, 400, 599));
    else if (word.text !== '=') {
      status = Number(word.text.slice(1));
      if (!REDIRECTS.includes(status)) fail(word, `${word.text} is none of =${REDIRECTS.join(', =')}`);
    }
  }
  if (codes.length === 0) fail(name, 'error_page needs a code');
  config.errorPages = [...(config.errorPages ?? []), { codes, status, location: uri.text }];
}

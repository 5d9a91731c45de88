// HTTP/2 request heads → HTTP/1.1 (RFC 9113 8.2, 8.3): checked here as a list of fields, then once more as bytes by the strict
// parser that every request passes, so what a target reads can be nothing that the rules have not seen.
import { randomBytes } from 'node:crypto';
import type { FailureCode } from '../../phase/fail.ts';

export interface H2Head {
  /** The head as HTTP/1.1. */
  readonly text: string;
  /** The body follows in chunks: its length was not said. */
  readonly isChunked: boolean;
  /** An extended CONNECT (RFC 8441): the stream becomes a tunnel when the target agrees. */
  readonly isTunnel: boolean;
}

const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}$/;
const HTTP_1_ONLY: ReadonlySet<string> = new Set(
  'connection keep-alive proxy-connection transfer-encoding upgrade http2-settings'.split(' '),
);
const PSEUDO: ReadonlySet<string> = new Set([':method', ':scheme', ':authority', ':path', ':protocol']);

/** A field value of RFC 9110 5.5: no control but tab, one byte a character, no white space around it. */
export function isFieldValue(value: string): boolean {
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f || code > 0xff) return false;
  }
  return value === '' || !/^[ \t]|[ \t]$/.test(value);
}

interface Fields {
  readonly pseudo: Record<string, string>;
  text: string;
  cookie: string;
  host: string | null;
  hasLength: boolean;
}

/** `raw` is name, value, name, value … in the order of the wire. */
export function requestOf(raw: readonly string[], scheme: string, endsHere: boolean): H2Head | FailureCode {
  const fields: Fields = { pseudo: {}, text: '', cookie: '', host: null, hasLength: false };
  for (let at = 0; at < raw.length; at += 2) {
    const failure = addField(fields, raw[at]!, raw[at + 1]!);
    if (failure !== null) return failure;
  }
  const { ':method': method, ':scheme': said, ':path': path, ':protocol': protocol } = fields.pseudo;
  const authority = fields.pseudo[':authority'];
  if (method === undefined || !METHOD.test(method)) return 'bad-head';
  const isTunnel = method === 'CONNECT' && protocol !== undefined;
  if (method === 'CONNECT' && !isTunnel) return 'method-refused';
  if (protocol !== undefined && (!isTunnel || protocol !== 'websocket'))
    return isTunnel ? 'method-unknown' : 'bad-head';
  if (said !== scheme || path === undefined) return 'bad-target';
  // Only origin-form and `*`: the authority is said elsewhere, and twice would be two truths.
  if (!path.startsWith('/') && !(path === '*' && method === 'OPTIONS')) return 'bad-target';
  if (authority !== undefined && fields.host !== null && authority.toLowerCase() !== fields.host.toLowerCase()) {
    return 'bad-host';
  }
  const host = authority ?? fields.host;
  if (host === null) return 'bad-host';
  const isChunked = !isTunnel && !endsHere && !fields.hasLength;
  let text = `${isTunnel ? 'GET' : method} ${path} HTTP/1.1\r\nHost: ${host}\r\n${fields.text}`;
  if (fields.cookie !== '') text += `Cookie: ${fields.cookie}\r\n`;
  if (isTunnel) text += upgradeFields();
  if (isChunked) text += 'Transfer-Encoding: chunked\r\n';
  if (isTunnel && fields.hasLength) return 'bad-framing';
  return { text: `${text}\r\n`, isChunked, isTunnel };
}

function addField(fields: Fields, name: string, value: string): FailureCode | null {
  if (!isFieldValue(value)) return 'bad-head';
  if (name.startsWith(':')) {
    if (!PSEUDO.has(name) || fields.pseudo[name] !== undefined || fields.text !== '') return 'bad-head';
    if (name !== ':authority' && value === '') return name === ':path' ? 'bad-target' : 'bad-head';
    // The strict parser would take a space for the end of the target.
    if (/[ \t]/.test(value)) return name === ':path' ? 'bad-target' : 'bad-head';
    fields.pseudo[name] = value;
    return null;
  }
  if (!NAME.test(name) || HTTP_1_ONLY.has(name)) return 'bad-head';
  switch (name) {
    case 'te':
      if (value.toLowerCase() !== 'trailers') return 'bad-head';
      // Hop by hop in HTTP/1.1, so it is named as such; the walk writes its own to the target.
      fields.text += 'Connection: TE\r\nTE: trailers\r\n';
      return null;
    case 'host':
      if (fields.host !== null) return 'bad-host';
      fields.host = value;
      return null;
    case 'cookie':
      // RFC 9113 8.2.3: crumbs are joined before they leave for HTTP/1.1.
      fields.cookie += fields.cookie === '' ? value : `; ${value}`;
      return null;
    case 'content-length':
      fields.hasLength = true;
      break;
    // The handshake of RFC 6455 is ours to make on this stream.
    case 'sec-websocket-key':
      if (fields.pseudo[':protocol'] !== undefined) return null;
      break;
    default:
  }
  fields.text += `${name}: ${value}\r\n`;
  return null;
}

function upgradeFields(): string {
  return `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n`;
}

/** Trailers of a request as lines; null when they break RFC 9113 8.1. */
export function trailerLines(raw: readonly string[]): string | null {
  let text = '';
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at]!;
    const value = raw[at + 1]!;
    if (!NAME.test(name) || !isFieldValue(value) || HTTP_1_ONLY.has(name)) return null;
    text += `${name}: ${value}\r\n`;
  }
  return text;
}

// rewrite: the heads as the other side gets them. Hop-by-hop fields go, the client's identity comes (E5, RFC 9110 7.6.1);
// everything else is copied byte by byte in as few pieces as there are gaps.
import { Framing } from '../codec/body.ts';
import { Field, type Head, STRIDE } from '../codec/h1.ts';
import { editRequest } from '../policy/edit.ts';
import type { Exchange } from '../state.ts';
import { reasonOf } from './fail.ts';

const EMPTY_LINE = '\r\n';

/** Fields that Connection cannot take away, because an attacker would use it to shed who he is. */
const PROTECTED: ReadonlySet<string> = new Set(
  (
    'host content-length transfer-encoding authorization cookie set-cookie content-type date x-real-ip ' +
    'x-forwarded-for x-client-proto x-forwarded-proto trailer expect content-encoding'
  ).split(' '),
);

/** The request head for the target, from raw ranges. Leaves `headText`. */
export function rewriteRequest(exchange: Exchange, head: Head): void {
  let text = '';
  let run = head.start;
  const edit = editRequest(exchange);
  if (exchange.isAbsolute || head.minor === 0 || exchange.forwardTarget !== '') {
    const own = exchange.forwardTarget === '' ? exchange.target : exchange.forwardTarget;
    const target =
      exchange.isAbsolute || exchange.forwardTarget !== '' ? own : head.text(head.targetStart, head.targetEnd);
    text = `${exchange.method} ${target} HTTP/1.1\r\n`;
    run = head.fieldsStart;
  }
  let forwardedFor = '';
  if (head.isEdited || exchange.isAbsolute || head.nominated !== null || edit !== null) {
    const { fields, count } = head;
    for (let index = 0, at = 0; index < count; index++, at += STRIDE) {
      const kind = fields[at]!;
      const keeps = keepsInRequest(exchange, head, kind, at);
      const other = edit === null || !keeps ? null : edit.replace(head, at);
      if (keeps && other === null) continue;
      if (kind === Field.ForwardedFor) {
        const value = head.value(at);
        if (value !== '') forwardedFor += `${value}, `;
      }
      text += head.text(run, fields[at + 1]!);
      if (other !== null) text += other;
      run = index + 1 < count ? fields[at + STRIDE + 1]! : head.end - 2;
    }
  }
  text += head.text(run, head.end - 2);
  if (edit !== null) text += edit.added;
  if (exchange.isAbsolute || head.hostAt < 0) text += `Host: ${hostFor(exchange)}\r\n`;
  exchange.headText = text + identityOf(exchange, forwardedFor);
}

/** Identity, Connection and the empty line. */
function identityOf(exchange: Exchange, forwardedFor: string): string {
  const proto = exchange.rule!.policy?.custom?.forwardedProto ?? null;
  const text = identityLines(exchange, forwardedFor);
  return proto === null ? text : text.replace(/^X-Forwarded-Proto: .*$/m, `X-Forwarded-Proto: ${proto}`);
}

function identityLines(exchange: Exchange, forwardedFor: string): string {
  const { downstream, readsTrailers, wantsUpgrade } = exchange;
  if (forwardedFor === '' && !wantsUpgrade && !readsTrailers) return downstream.identityTail;
  return `${downstream.identityFields}X-Forwarded-For: ${forwardedFor}${downstream.clientAddress}\r\n${connectionFields(exchange)}\r\n`;
}

function keepsInRequest(exchange: Exchange, head: Head, kind: number, at: number): boolean {
  switch (kind) {
    case Field.Connection:
    case Field.KeepAlive:
    case Field.Te:
    case Field.Removed:
    case Field.Identity:
    case Field.ForwardedFor:
      return false;
    case Field.Upgrade:
      return exchange.wantsUpgrade;
    case Field.Expect:
      return exchange.expectsContinue;
    case Field.Host:
      return !exchange.isAbsolute;
    case Field.Other:
      return head.nominated === null || !isNominated(head, at);
    default:
      return true;
  }
}

function isNominated(head: Head, at: number): boolean {
  const name = head.name(at).toLowerCase();
  return head.nominated!.includes(name) && !PROTECTED.has(name);
}

/** An HTTP/1.0 client need not name a host; the target, spoken to in 1.1, must be given one. */
function hostFor(exchange: Exchange): string {
  if (exchange.host !== '') return exchange.host;
  const { vip, vport, scheme } = exchange.downstream;
  const name = vip.includes(':') ? `[${vip}]` : vip;
  return vport === (scheme === 'http' ? 80 : 443) ? name : `${name}:${vport}`;
}

function connectionFields(exchange: Exchange): string {
  const { wantsUpgrade, readsTrailers } = exchange;
  if (!wantsUpgrade && !readsTrailers) return '';
  if (!readsTrailers) return 'Connection: Upgrade\r\n';
  return wantsUpgrade ? 'Connection: Upgrade, TE\r\nTE: trailers\r\n' : 'Connection: TE\r\nTE: trailers\r\n';
}

const REQUEST_HOP_FIELDS: ReadonlySet<string> = new Set(
  (
    'connection keep-alive proxy-connection proxy-authorization te http2-settings x-real-ip ' +
    'x-client-proto x-forwarded-proto content-length transfer-encoding host upgrade expect x-client-verify ' +
    'x-client-cert-subject x-client-cert-issuer x-client-cert-serial x-client-cert-fingerprint'
  ).split(' '),
);

/** The request head for the target, from what the filters left. Framing is ours, whatever a filter wrote. */
export function rewriteFiltered(exchange: Exchange): void {
  const { filtered, requestBody } = exchange;
  const { method, target, headers } = filtered!;
  const edit = editRequest(exchange);
  const path = exchange.forwardTarget === '' ? target : exchange.forwardTarget;
  let text = `${method} ${path} HTTP/1.1\r\nHost: ${hostFor(exchange)}\r\n`;
  let forwardedFor = '';
  for (const [name, value] of headers) {
    const folded = name.toLowerCase();
    const other = edit === null ? null : edit.replaceNamed(name, value);
    if (other !== null) text += other;
    else if (folded === 'x-forwarded-for') forwardedFor += `${value}, `;
    else if (!REQUEST_HOP_FIELDS.has(folded)) text += `${name}: ${value}\r\n`;
    else if (folded === 'upgrade' && exchange.wantsUpgrade) text += `Upgrade: ${value}\r\n`;
    else if (folded === 'expect' && exchange.expectsContinue) text += 'Expect: 100-continue\r\n';
  }
  if (requestBody.framing === Framing.Chunked) text += 'Transfer-Encoding: chunked\r\n';
  else if (requestBody.framing === Framing.Length) text += `Content-Length: ${exchange.contentLength}\r\n`;
  exchange.headText = text + (edit?.added ?? '') + identityOf(exchange, forwardedFor);
}

/**
 * The response head for the client, from raw ranges. `end` may lie behind the head: bytes up to there are a body that leaves with it,
 * in the same copy where nothing has to be put between the two.
 */
export function rewriteResponse(exchange: Exchange, head: Head, end = head.end): string {
  let text = '';
  let run = head.start;
  if (head.minor === 0) {
    text = 'HTTP/1.1';
    run += 8;
  }
  const dropsLength = head.contentLength >= 0 && (head.status === 204 || head.status < 200);
  const dropsCoding = head.isChunked && exchange.responseBody.isDecoding;
  // Interim responses are the target's own.
  const edit = head.status >= 200 ? exchange.responseEdit : null;
  if (head.isEdited || dropsLength || dropsCoding || head.nominated !== null || edit !== null) {
    const { fields, count } = head;
    for (let index = 0, at = 0; index < count; index++, at += STRIDE) {
      const kind = fields[at]!;
      const keeps = keepsInResponse(head, kind, at, dropsLength, dropsCoding);
      const other = edit === null || !keeps ? null : edit.replace(head, at);
      if (keeps && other === null) continue;
      text += head.text(run, fields[at + 1]!);
      if (other !== null) text += other;
      run = index + 1 < count ? fields[at + STRIDE + 1]! : head.end - 2;
    }
  }
  const closing = (edit?.added ?? '') + closingFields(exchange, head.status);
  if (closing === EMPTY_LINE) return text + head.text(run, end);
  text += head.text(run, head.end - 2) + closing;
  return end === head.end ? text : text + head.text(head.end, end);
}

function keepsInResponse(head: Head, kind: number, at: number, dropsLength: boolean, dropsCoding: boolean): boolean {
  switch (kind) {
    case Field.Connection:
    case Field.KeepAlive:
    case Field.Removed:
      return false;
    case Field.Upgrade:
      return head.status === 101 || head.status === 426;
    case Field.ContentLength:
      return !dropsLength;
    case Field.TransferEncoding:
      return !dropsCoding;
    case Field.Other:
      return head.nominated === null || !isNominated(head, at);
    default:
      return true;
  }
}

/** Framing and Connection of a response, and the empty line. */
function closingFields(exchange: Exchange, status: number): string {
  let text = exchange.encodesChunks ? 'Transfer-Encoding: chunked\r\n' : '';
  if (status === 101) text += 'Connection: Upgrade\r\n';
  else if (status === 426) text += exchange.closesAfter ? 'Connection: Upgrade, close\r\n' : 'Connection: Upgrade\r\n';
  else if (exchange.closesAfter) text += 'Connection: close\r\n';
  else if (exchange.minor === 0) text += 'Connection: keep-alive\r\n';
  return text === '' ? EMPTY_LINE : text + EMPTY_LINE;
}

const RESPONSE_HOP_FIELDS: ReadonlySet<string> = new Set(
  'connection keep-alive proxy-connection content-length transfer-encoding'.split(' '),
);

/** The response head for the client, from what the filters left. */
export function rewriteFilteredResponse(
  exchange: Exchange,
  response: { readonly status: number; readonly headers: readonly (readonly [string, string])[] },
  length: number,
): string {
  let text = `HTTP/1.1 ${response.status} ${reasonOf(response.status)}\r\n`;
  const edit = exchange.responseEdit;
  for (const [name, value] of response.headers) {
    const other = edit === null ? null : edit.replaceNamed(name, value);
    if (other !== null) text += other;
    else if (!RESPONSE_HOP_FIELDS.has(name.toLowerCase())) text += `${name}: ${value}\r\n`;
  }
  if (exchange.responseBody.framing === Framing.Chunked && !exchange.responseBody.isDecoding) {
    text += 'Transfer-Encoding: chunked\r\n';
  } else if (length >= 0 && response.status !== 204) text += `Content-Length: ${length}\r\n`;
  return text + (edit?.added ?? '') + closingFields(exchange, response.status);
}

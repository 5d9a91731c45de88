// admit: what this proxy does not do or not at this size is refused before a target hears of it.
import { METHODS } from 'node:http';
import { Bad, type Head } from '../codec/h1.ts';
import { isHost } from '../codec/h1.ts';
import type { Exchange } from '../state.ts';
import type { FailureCode } from './fail.ts';

const KNOWN_METHODS: ReadonlySet<string> = new Set(METHODS);

export function admit(exchange: Exchange, head: Head): FailureCode | null {
  const { method } = exchange;
  if (method !== 'GET') {
    // A reverse proxy opens no tunnels to where a client says, and echoes no credentials (RFC 9110 9.3.6, 9.3.8).
    if (method === 'CONNECT' || method === 'TRACE') return 'method-refused';
    if (!KNOWN_METHODS.has(method)) return 'method-unknown';
  }
  if (head.expectAt >= 0 && exchange.minor === 1 && head.value(head.expectAt).toLowerCase() !== '100-continue') {
    return 'expectation-unknown';
  }
  return admitTarget(exchange, head);
}

/** A client that shares one TLS connection between hosts must not reach one that asks for another certificate (RFC 9110 15.5.20). */
export function placed(exchange: Exchange, head: Head): FailureCode | null {
  const { secure } = exchange.downstream;
  if (secure === null || secure.serverName === '') return null;
  const host = exchange.host !== '' || head.hostAt < 0 ? exchange.host : head.value(head.hostAt);
  return host !== '' && secure.isMisdirected(host) ? 'misdirected' : null;
}

/** The four forms of a request target (RFC 9112 3.2). An absolute one brings its own host, which replaces the field. */
function admitTarget(exchange: Exchange, head: Head): FailureCode | null {
  const first = head.bytes[head.targetStart];
  if (first === 0x2f) return null;
  const text = head.text(head.targetStart, head.targetEnd);
  if (text === '*') return exchange.method === 'OPTIONS' ? null : 'bad-target';
  const match = /^(https?):\/\/([^/?]*)(.*)$/i.exec(text);
  if (match === null) return 'bad-target';
  const [, scheme, authority, rest] = match as unknown as [string, string, string, string];
  if (scheme.toLowerCase() !== exchange.downstream.scheme) return 'bad-target';
  const bytes = Buffer.from(authority, 'latin1');
  if (!isHost(bytes, 0, bytes.length)) return 'bad-target';
  exchange.host = authority;
  exchange.target = rest.startsWith('/') ? rest : `/${rest}`;
  exchange.isAbsolute = true;
  return null;
}

/** What the parser says, in the words of the failure table. */
export function failureOf(bad: number): FailureCode {
  switch (bad) {
    case Bad.TargetLength:
      return 'target-too-long';
    case Bad.FieldCount:
      return 'head-too-large';
    case Bad.VersionUnsupported:
      return 'version-unsupported';
    case Bad.CodingUnsupported:
      return 'coding-unsupported';
    case Bad.Expect:
      return 'expectation-unknown';
    case Bad.Chunk:
    case Bad.Trailer:
      return 'bad-body';
    case Bad.Target:
      return 'bad-target';
    case Bad.Host:
      return 'bad-host';
    case Bad.LengthConflict:
    case Bad.ContentLength:
    case Bad.TransferEncoding:
      return 'bad-framing';
    default:
      return 'bad-head';
  }
}

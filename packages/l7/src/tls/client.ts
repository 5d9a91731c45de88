// Mutual TLS: whether the client is who it says, and what a target is told about it. OpenSSL verifies the chain; the depth is ours
// to check, because node:tls has no setting for it.
import type { PeerCertificate, DetailedPeerCertificate, TLSSocket } from 'node:tls';
import { HandshakeRefused } from '../phase/identify.ts';
import { type TlsPolicy, TLS_DEFAULTS } from '@openclb/model';

/** Longest chain that is walked; a longer one is refused. */
const CHAIN_MAX = 16;
const FIELD_CHARS_MAX = 1024;

/** Header lines for the target. Throws when the client must go. */
export function clientFields(socket: TLSSocket, policy: TlsPolicy): string {
  if (policy.verifyClient === undefined) return '';
  const certificate = socket.getPeerCertificate(true);
  if (Object.keys(certificate ?? {}).length === 0) {
    if (policy.verifyClient === 'optional') return 'X-Client-Verify: NONE\r\n';
    throw new HandshakeRefused('tls-client-certificate-missing');
  }
  // A certificate that is shown and not valid is never taken for none.
  const isTooDeep = intermediates(certificate) > (policy.verifyDepth ?? TLS_DEFAULTS.verifyDepth);
  if (!socket.authorized || isTooDeep) throw new HandshakeRefused('tls-client-certificate-refused');
  return (
    'X-Client-Verify: SUCCESS\r\n' +
    `X-Client-Cert-Subject: ${nameText(certificate.subject)}\r\n` +
    `X-Client-Cert-Issuer: ${nameText(certificate.issuer)}\r\n` +
    `X-Client-Cert-Serial: ${certificate.serialNumber}\r\n` +
    `X-Client-Cert-Fingerprint: ${certificate.fingerprint256.replaceAll(':', '').toLowerCase()}\r\n`
  );
}

/** Certificates between the client's and the authority's own. */
function intermediates(leaf: DetailedPeerCertificate): number {
  let count = 0;
  let at = leaf;
  while (count < CHAIN_MAX) {
    const issuer = at.issuerCertificate;
    if (issuer === undefined || issuer === at || issuer.fingerprint256 === at.fingerprint256) break;
    at = issuer;
    count++;
  }
  return count - 1;
}

/** `CN=x,O=y`; nothing in it can end a line or hide a comma. */
function nameText(name: PeerCertificate['subject']): string {
  const parts: string[] = [];
  for (const [key, value] of Object.entries(name ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) parts.push(`${key}=${escape(String(one))}`);
  }
  return parts.join(',').slice(0, FIELD_CHARS_MAX);
}

/** Printable ASCII but `%`, `,` and `=` as it is; the rest percent-encoded as UTF-8. */
function escape(value: string): string {
  return value.replace(/[^ !-$&-+\--<>-~]/gu, (char) =>
    [...Buffer.from(char)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  );
}

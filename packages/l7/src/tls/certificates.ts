// Certificates of a listener by name: exact or wildcard (RFC 6125 6.4.3), one of each key type (RSA and ECC) for one name.
import { createHash, X509Certificate } from 'node:crypto';

export interface CertificatePair {
  /** PEM, the leaf first. */
  readonly certificate: string;
  /** PEM. */
  readonly privateKey: string;
  /** OCSP response (DER) to staple. */
  readonly ocsp?: Uint8Array;
}

export interface Loaded extends CertificatePair {
  readonly id: string;
  readonly names: readonly string[];
  readonly keyType: string;
  readonly fingerprint: string;
}

/** Certificates that are offered together; OpenSSL picks the one that the client can verify. */
export type CertificateSet = readonly Loaded[];

export function load(id: string, pair: CertificatePair): Loaded {
  const leaf = new X509Certificate(pair.certificate);
  return {
    ...pair,
    id,
    names: namesOf(leaf),
    keyType: leaf.publicKey.asymmetricKeyType ?? '',
    fingerprint: fingerprintOf(leaf.raw),
  };
}

export function fingerprintOf(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('hex');
}

export function keyOf(set: CertificateSet): string {
  return set.map(({ fingerprint }) => fingerprint).join(' ');
}

/** DNS names of a certificate, lower case; the common name where there is none. */
function namesOf(certificate: X509Certificate): string[] {
  const names = (certificate.subjectAltName ?? '')
    .split(', ')
    .filter((part) => part.startsWith('DNS:'))
    .map((part) => part.slice(4).toLowerCase());
  if (names.length > 0) return names;
  const common = /(?:^|\n)CN=([^\n]+)/.exec(certificate.subject)?.[1];
  return common === undefined ? [] : [common.toLowerCase()];
}

export class NameTable {
  readonly sets = new Map<string, CertificateSet>();
  /** For clients that send no name or one that nobody has. */
  readonly fallback: CertificateSet;

  /** The first of a key type wins where two certificates have one name. */
  constructor(certificates: readonly Loaded[]) {
    for (const certificate of certificates) {
      for (const name of certificate.names) {
        const set = this.sets.get(name) ?? [];
        if (set.some(({ keyType }) => keyType === certificate.keyType)) continue;
        this.sets.set(name, [...set, certificate]);
      }
    }
    const [first] = certificates;
    const named = first?.names.map((name) => this.sets.get(name)!).find((set) => set.includes(first));
    this.fallback = named ?? (first === undefined ? [] : [first]);
  }

  /** The set of a name itself; null when only the fallback is left for it. */
  find(serverName: string): CertificateSet | null {
    const name = serverName.toLowerCase();
    const exact = this.sets.get(name);
    if (exact !== undefined) return exact;
    const dot = name.indexOf('.');
    return (dot > 0 ? this.sets.get(`*${name.slice(dot)}`) : undefined) ?? null;
  }
}

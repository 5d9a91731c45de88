// Certificates with their keys. The key can be written and never read back through the API (control-plane.md B11).
import { type Static, Type } from 'typebox';
import { CertificateId, closed, Name, Revision } from './ids.ts';

const PEM_CHARS_MAX = 64 * 1024;
const certificate = Type.String({
  maxLength: PEM_CHARS_MAX,
  pattern: '^-----BEGIN CERTIFICATE-----',
  description: 'Certificate chain in PEM, the server certificate first',
});
const privateKey = Type.String({
  maxLength: PEM_CHARS_MAX,
  pattern: '^-----BEGIN [A-Z ]*PRIVATE KEY-----',
  writeOnly: true,
  description: 'Private key in PEM; never shown again',
});

const ocsp = Type.String({
  maxLength: 16 * 1024,
  pattern: '^[A-Za-z0-9+/]+={0,2}$',
  description: 'OCSP response (DER in base64) to staple; you renew it before it expires',
});

/** Let's Encrypt, for who names no other. */
export const ACME_DIRECTORY = 'https://acme-v02.api.letsencrypt.org/directory';

export const AcmeOrder = Type.Object(
  {
    domains: Type.Array(
      Type.String({
        maxLength: 253,
        pattern: '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z0-9-]{2,63}$',
        description: 'A name in lower case; wildcards cannot be proved over HTTP',
      }),
      { minItems: 1, maxItems: 100, uniqueItems: true, description: 'Names that lead to HTTP listeners on port 80' },
    ),
    email: Type.Optional(Type.String({ maxLength: 200, pattern: '^[^@ ]+@[^@ ]+$', description: 'Of the account' })),
    directory: Type.Optional(
      Type.String({ maxLength: 300, pattern: '^https?://', default: ACME_DIRECTORY, description: 'The authority' }),
    ),
  },
  { ...closed, description: 'Obtained and renewed from an ACME authority (RFC 8555), instead of certificate and key' },
);
export type AcmeOrder = Static<typeof AcmeOrder>;

export const CertificateInput = Type.Object(
  {
    id: Type.Optional(CertificateId),
    name: Name,
    certificate: Type.Optional(certificate),
    privateKey: Type.Optional(privateKey),
    ocsp: Type.Optional(ocsp),
    acme: Type.Optional(AcmeOrder),
  },
  { ...closed, description: 'A certificate to store' },
);
export type CertificateInput = Static<typeof CertificateInput>;

export const CertificatePatch = Type.Object(
  {
    name: Type.Optional(Name),
    certificate: Type.Optional(certificate),
    privateKey: Type.Optional(privateKey),
    ocsp: Type.Optional(ocsp),
    acme: Type.Optional(AcmeOrder),
  },
  {
    ...closed,
    description: 'What may change on a certificate; certificate and key change together, and drop the OCSP response',
  },
);
export type CertificatePatch = Static<typeof CertificatePatch>;

export const Certificate = Type.Object(
  {
    id: CertificateId,
    name: Name,
    certificate: Type.Optional(certificate),
    ocsp: Type.Optional(ocsp),
    acme: Type.Optional(AcmeOrder),
    state: Type.Optional(Type.Enum(['waiting', 'issued', 'failed'], { description: 'Of an ACME certificate' })),
    notAfter: Type.Optional(Type.String({ description: 'Until when an ACME certificate holds' })),
    problem: Type.Optional(Type.String({ description: 'Why the last order failed, and when the next one begins' })),
    revision: Revision,
  },
  { ...closed, description: 'A stored certificate, without its key' },
);
export type Certificate = Static<typeof Certificate>;

/** What a proxy fetches over the node link, beside the image and never in it. */
export const CertificateSecret = Type.Object(
  { id: CertificateId, certificate, privateKey, ocsp: Type.Optional(ocsp) },
  closed,
);
export type CertificateSecret = Static<typeof CertificateSecret>;

/** Secrets of TLS session tickets, 32 bytes in base64, as a proxy fetches them: until `changesAtMs` the first, from then on the second. */
export interface TicketSecrets {
  readonly secret: string;
  readonly next: string;
  readonly changesAtMs: number;
}

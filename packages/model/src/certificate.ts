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

export const CertificateInput = Type.Object(
  { id: Type.Optional(CertificateId), name: Name, certificate, privateKey, ocsp: Type.Optional(ocsp) },
  { ...closed, description: 'A certificate to store' },
);
export type CertificateInput = Static<typeof CertificateInput>;

export const CertificatePatch = Type.Object(
  {
    name: Type.Optional(Name),
    certificate: Type.Optional(certificate),
    privateKey: Type.Optional(privateKey),
    ocsp: Type.Optional(ocsp),
  },
  {
    ...closed,
    description: 'What may change on a certificate; certificate and key change together, and drop the OCSP response',
  },
);
export type CertificatePatch = Static<typeof CertificatePatch>;

export const Certificate = Type.Object(
  { id: CertificateId, name: Name, certificate, ocsp: Type.Optional(ocsp), revision: Revision },
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

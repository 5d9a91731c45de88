// How a listener speaks TLS: versions, ciphers and client certificates (tencent-cloud.md E4, C-Cert).
import { type Static, Type } from 'typebox';
import { closed } from './ids.ts';

const PEM_CHARS_MAX = 64 * 1024;
const version = (description: string) => Type.Enum(['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'], { description });

export const TlsPolicy = Type.Object(
  {
    minVersion: Type.Optional(version('Oldest version spoken; TLSv1.2 when absent')),
    maxVersion: Type.Optional(version('Newest version spoken; TLSv1.3 when absent')),
    ciphers: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 2000,
        pattern: '^[A-Za-z0-9_:+!@=-]+$',
        description: 'OpenSSL cipher list; what is broken (RC4, MD5, export, anonymous) stays off whatever it says',
      }),
    ),
    verifyClient: Type.Optional(
      Type.Enum(['on', 'optional'], {
        description: 'on: a client without a valid certificate gets no connection; optional: one without any does',
      }),
    ),
    clientAuthority: Type.Optional(
      Type.String({
        maxLength: PEM_CHARS_MAX,
        pattern: '^-----BEGIN CERTIFICATE-----',
        description: 'Certificates (PEM) of the authorities that clients are verified against',
      }),
    ),
    verifyDepth: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10,
        description: 'Intermediate certificates between client and authority at most; 1 when absent',
      }),
    ),
  },
  { ...closed, description: 'How a listener speaks TLS' },
);
export type TlsPolicy = Static<typeof TlsPolicy>;

const VERSIONS = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'] as const;
export const TLS_DEFAULTS = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3', verifyDepth: 1 } as const;

/** What contradicts itself in a policy, as field and reason; null when nothing does. */
export function checkTlsPolicy(policy: TlsPolicy): { readonly field: string; readonly reason: string } | null {
  const { minVersion = TLS_DEFAULTS.minVersion, maxVersion = TLS_DEFAULTS.maxVersion } = policy;
  if (VERSIONS.indexOf(minVersion) > VERSIONS.indexOf(maxVersion)) {
    return { field: 'minVersion', reason: `${minVersion} is newer than the newest version spoken, ${maxVersion}` };
  }
  if (policy.verifyClient !== undefined && policy.clientAuthority === undefined) {
    return { field: 'clientAuthority', reason: 'is needed to verify clients' };
  }
  return null;
}

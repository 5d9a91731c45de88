// One listener's TLS: a node:tls server that never listens for each set of certificates. Connections that stand keep
// what they were given; the next one gets the new.
import { constants, createHash } from 'node:crypto';
import tls, { type SecureContextOptions, type Server, type TlsOptions } from 'node:tls';
import { checkTlsPolicy, type TlsPolicy, TLS_DEFAULTS } from '@openclb/model';
import { type CompiledListener, ImageRefused } from '../image.ts';
import { type CertificateSet, keyOf, type Loaded, NameTable } from './certificates.ts';

/** Off whatever a policy says (tencent-cloud.md E4). */
const NEVER = '!aNULL:!eNULL:!EXPORT:!DES:!RC4:!MD5:!PSK:!DHE';

export interface ListenerTls {
  readonly policy: TlsPolicy;
  readonly names: NameTable;
  /** The server for a name; one that nobody has gets the fallback's. */
  serverFor(serverName: string): Server;
  readonly servers: readonly Server[];
}

export function buildListener(
  listener: CompiledListener,
  certificates: readonly Loaded[],
  ticketKeys: Buffer,
): ListenerTls {
  const policy = listener.tls ?? {};
  const problem = checkTlsPolicy(policy);
  if (problem !== null) throw new ImageRefused(`listener ${listener.name}: tls.${problem.field} ${problem.reason}`);
  const names = new NameTable(certificates);
  const options: TlsOptions = {
    ...optionsOf(listener, policy, ticketKeys),
    ...alpnOf(listener),
    requestCert: policy.verifyClient !== undefined,
    // `clientFields` decides, so that each refusal has its reason.
    rejectUnauthorized: false,
  };
  const servers = new Map<string, Server>();
  const serverOf = (set: CertificateSet): Server => {
    const key = keyOf(set);
    let server = servers.get(key);
    if (server === undefined) {
      server = tls.createServer({ ...options, ...pairsOf(set) });
      staple(server, set);
      servers.set(key, server);
    }
    return server;
  };
  try {
    serverOf(names.fallback);
    for (const set of names.sets.values()) serverOf(set);
  } catch (error) {
    throw new ImageRefused(`listener ${listener.name}: TLS cannot be set up: ${(error as Error).message}`);
  }
  return {
    policy,
    names,
    servers: [...servers.values()],
    serverFor: (serverName) => serverOf(names.find(serverName) ?? names.fallback),
  };
}

function pairsOf(set: CertificateSet): SecureContextOptions {
  return { cert: set.map(({ certificate }) => certificate), key: set.map(({ privateKey }) => privateKey) };
}

function alpnOf({ protocol, http2 }: CompiledListener): TlsOptions {
  if (protocol !== 'https') return {};
  return { ALPNProtocols: http2 ? ['h2', 'http/1.1'] : ['http/1.1'] };
}

function optionsOf(listener: CompiledListener, policy: TlsPolicy, ticketKeys: Buffer): SecureContextOptions {
  const { minVersion = TLS_DEFAULTS.minVersion, maxVersion = TLS_DEFAULTS.maxVersion } = policy;
  let ciphers = policy.ciphers === undefined ? tls.DEFAULT_CIPHERS : `${policy.ciphers}:${NEVER}`;
  // What TLS 1.0 and 1.1 sign with is below OpenSSL's own floor.
  if (minVersion === 'TLSv1' || minVersion === 'TLSv1.1') ciphers += ':@SECLEVEL=0';
  const verifies = policy.verifyClient !== undefined;
  return {
    minVersion,
    maxVersion,
    ciphers,
    honorCipherOrder: true,
    ticketKeys,
    // A session of one listener is none of another whose clients must prove more.
    sessionIdContext: contextId(listener, policy),
    // A ticket would carry an old verdict on the client's certificate: with mutual TLS each handshake is a full one.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | (verifies ? constants.SSL_OP_NO_TICKET : 0),
    ...(policy.clientAuthority === undefined ? {} : { ca: policy.clientAuthority }),
  };
}

function contextId(listener: CompiledListener, policy: TlsPolicy): string {
  const text = JSON.stringify([
    listener.id,
    policy.verifyClient ?? '',
    policy.verifyDepth ?? 0,
    policy.clientAuthority ?? '',
  ]);
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

/** Gives the supplied OCSP response to clients that ask (RFC 6066 8). Which of two certificates was shown is not known here. */
function staple(server: Server, set: CertificateSet): void {
  const [only] = set;
  if (set.length !== 1 || only?.ocsp === undefined) return;
  const response = Buffer.from(only.ocsp);
  server.on(
    'OCSPRequest',
    (_certificate: Buffer, _issuer: Buffer, answer: (error: Error | null, response: Buffer | null) => void) =>
      answer(null, response),
  );
}

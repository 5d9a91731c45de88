// A client of HTTP/2 over TLS, from node:http2: what it is told comes as one JSON word, what it saw goes to stdout as one JSON line.
// It checks certificates, and it never retries: a failure is an answer. Plain Node, no package.
import { connect } from 'node:http2';
import type { ClientHttp2Session } from 'node:http2';
import type { TLSSocket } from 'node:tls';

export interface SecureOrder {
  address: string;
  port: number;
  /** PEM certificates that it trusts. */
  trusted: string;
  /** Name in SNI, and the authority of the requests unless they name another. */
  serverName: string;
  authority?: string;
  path: string;
  headers?: Record<string, string>;
  /** Connections one after the other, and requests on each. */
  connections?: number;
  requestsEach?: number;
}

export interface SecureOutcome {
  /** 0 for failures. */
  status: number;
  headers: Record<string, string>;
  body: string;
  /** What ALPN agreed on, and the common name of the certificate that was shown. */
  alpn: string;
  certificate: string;
  error?: string;
}

const TIMEOUT_MS = 5000;

async function run(order: SecureOrder): Promise<SecureOutcome[]> {
  const outcomes: SecureOutcome[] = [];
  for (let connection = 0; connection < (order.connections ?? 1); connection++) {
    const host = order.address.includes(':') ? `[${order.address}]` : order.address;
    const session = connect(`https://${host}:${order.port}`, { ca: order.trusted, servername: order.serverName });
    const failed = new Promise<Error>((resolve) => session.once('error', resolve));
    const asked = Array.from({ length: order.requestsEach ?? 1 }, () => ask(session, order, failed));
    outcomes.push(...(await Promise.all(asked)));
    session.destroy();
  }
  return outcomes;
}

function ask(session: ClientHttp2Session, order: SecureOrder, failed: Promise<Error>): Promise<SecureOutcome> {
  return new Promise((resolve) => {
    const outcome: SecureOutcome = { status: 0, headers: {}, body: '', alpn: '', certificate: '' };
    const fail = (error: Error): void => resolve({ ...outcome, status: 0, error: error.message });
    void failed.then(fail);
    const request = session.request({
      ':authority': order.authority ?? order.serverName,
      ':path': order.path,
      ...order.headers,
    });
    request.setTimeout(TIMEOUT_MS, () => fail(new Error('timeout')));
    request.setEncoding('utf8');
    request.on('error', fail);
    request.on('response', ({ ':status': status, ...fields }) => {
      const socket = session.socket as TLSSocket;
      outcome.status = status ?? 0;
      outcome.headers = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, String(value)]));
      outcome.alpn = session.alpnProtocol ?? '';
      outcome.certificate = String(socket.getPeerCertificate().subject.CN);
    });
    request.on('data', (chunk: string) => (outcome.body += chunk));
    request.on('end', () => resolve(outcome));
    request.end();
  });
}

async function main(): Promise<void> {
  const order = JSON.parse(process.argv[2] ?? '{}') as SecureOrder;
  console.log(JSON.stringify(await run(order)));
}

if (import.meta.main) await main();

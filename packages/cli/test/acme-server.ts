// An ACME authority of the tests (RFC 8555) on loopback: it checks nonces, signatures and account keys, fetches the answer to each
// challenge over real HTTP, and signs what openssl finds to be a proper request.
import { execFileSync } from 'node:child_process';
import { createHash, createPublicKey, type KeyObject, randomBytes, verify } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface Authz {
  readonly domain: string;
  readonly token: string;
  status: 'pending' | 'valid' | 'invalid';
  error?: string;
}
interface Order {
  readonly authzs: Authz[];
  certificate?: string;
}

export interface AcmeServer {
  readonly directory: string;
  /** Certificate of the authority. */
  readonly root: string;
  readonly issued: string[];
  /** What was fetched from whom: `a.test /.well-known/…`. */
  readonly fetched: string[];
  readonly accounts: Map<string, KeyObject>;
  /** Days of the certificates to come. */
  days: number;
  close(): Promise<void>;
}

/** `portOf` says where a domain is served, as DNS and port 80 would. */
export async function acmeServer(portOf: (domain: string) => number): Promise<AcmeServer> {
  const folder = mkdtempSync(join(tmpdir(), 'clb-acme-'));
  const openssl = (...args: string[]): string =>
    execFileSync('openssl', args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const key = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 1000';
  openssl(...key.split(' '), '-subj', '/CN=Test Authority');
  const nonces = new Set<string>();
  const orders: Order[] = [];
  const root = readFileSync(join(folder, 'ca.pem'), 'utf8');
  const state = { issued: [] as string[], fetched: [] as string[], accounts: new Map<string, KeyObject>(), days: 90 };

  const nonce = (): string => {
    const made = randomBytes(16).toString('base64url');
    nonces.add(made);
    return made;
  };
  const base = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const check = async (authz: Authz, account: KeyObject): Promise<void> => {
    const path = `/.well-known/acme-challenge/${authz.token}`;
    const text = await new Promise<string>((resolve) => {
      const call = http.get({ port: portOf(authz.domain), host: '127.0.0.1', path, headers: { host: authz.domain } });
      call.on('error', (error) => resolve(error.message));
      call.on('response', (response) => {
        let body = '';
        response.on('data', (part: Buffer) => (body += part.toString()));
        response.on('end', () => resolve(response.statusCode === 200 ? body : `status ${response.statusCode}`));
      });
    });
    state.fetched.push(`${authz.domain} ${path}`);
    const { crv, kty, x, y } = account.export({ format: 'jwk' });
    const thumbprint = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
    authz.status = text === `${authz.token}.${thumbprint}` ? 'valid' : 'invalid';
    if (authz.status === 'invalid') authz.error = `wrong answer of ${authz.domain}: ${text.slice(0, 60)}`;
  };

  const sign = (csr: string): string => {
    writeFileSync(join(folder, 'one.csr'), Buffer.from(csr, 'base64url'));
    const days = String(state.days);
    openssl('req', '-inform', 'DER', '-in', 'one.csr', '-verify', '-noout');
    const how = 'x509 -req -inform DER -in one.csr -CA ca.pem -CAkey ca.key -copy_extensions copy -out one.pem';
    openssl(...how.split(' '), '-days', days, '-set_serial', `${state.issued.length + 1}`);
    return readFileSync(join(folder, 'one.pem'), 'utf8') + root;
  };

  const orderBody = (order: Order, at: number) => ({
    status: order.certificate
      ? 'valid'
      : order.authzs.every(({ status }) => status === 'valid')
        ? 'ready'
        : order.authzs.some(({ status }) => status === 'invalid')
          ? 'invalid'
          : 'pending',
    identifiers: order.authzs.map(({ domain }) => ({ type: 'dns', value: domain })),
    authorizations: order.authzs.map((_, index) => `${base()}/authz/${at}/${index}`),
    finalize: `${base()}/finalize/${at}`,
    ...(order.certificate ? { certificate: `${base()}/certificate/${at}` } : {}),
  });
  const challengeBody = ({ token, status, error }: Authz, url: string) => ({
    type: 'http-01',
    url,
    token,
    status,
    ...(error === undefined ? {} : { error: { type: 'urn:ietf:params:acme:error:unauthorized', detail: error } }),
  });

  interface Reply {
    readonly status?: number;
    readonly location?: string;
    readonly body: unknown;
  }
  const act = async (path: string, payload: Record<string, unknown>, key: KeyObject): Promise<Reply> => {
    const [, kind, first = '', second = ''] = path.split('/');
    const order = first === '' ? undefined : orders[Number(first)];
    const authz = order?.authzs[Number(second)];
    switch (kind) {
      case 'account': {
        const id = createHash('sha256')
          .update(JSON.stringify(key.export({ format: 'jwk' })))
          .digest('hex')
          .slice(0, 8);
        const status = state.accounts.has(`${base()}/account/${id}`) ? 200 : 201;
        state.accounts.set(`${base()}/account/${id}`, key);
        return { status, location: `${base()}/account/${id}`, body: { status: 'valid' } };
      }
      case 'order': {
        if (order !== undefined) return { body: orderBody(order, Number(first)) };
        const names = (payload.identifiers as { value: string }[]).map(({ value }) => value);
        const authzs = names.map((domain): Authz => ({
          domain,
          token: randomBytes(16).toString('base64url'),
          status: 'pending',
        }));
        orders.push({ authzs });
        const at = orders.length - 1;
        return { status: 201, location: `${base()}/order/${at}`, body: orderBody(orders[at]!, at) };
      }
      case 'authz': {
        const challenge = challengeBody(authz!, `${base()}/challenge/${first}/${second}`);
        return {
          body: { identifier: { type: 'dns', value: authz!.domain }, status: authz!.status, challenges: [challenge] },
        };
      }
      case 'challenge':
        if (Object.keys(payload).length === 0 && authz!.status === 'pending') await check(authz!, key);
        return { body: challengeBody(authz!, base() + path) };
      case 'finalize':
        if (orderBody(order!, 0).status !== 'ready')
          return { status: 403, body: problem('orderNotReady', 'not ready') };
        order!.certificate = sign(String(payload.csr));
        state.issued.push(order!.certificate);
        return { location: `${base()}/order/${first}`, body: orderBody(order!, Number(first)) };
      default:
        return { body: order?.certificate ?? null };
    }
  };

  const server = http.createServer((request, response) => {
    const path = request.url ?? '/';
    const send = ({ status = 200, location, body }: Reply): void => {
      const isText = typeof body === 'string';
      response.writeHead(status, {
        'replay-nonce': nonce(),
        'content-type': isText ? 'application/pem-certificate-chain' : 'application/json',
        ...(location === undefined ? {} : { location }),
      });
      response.end(isText ? body : JSON.stringify(body));
    };
    if (path === '/directory') {
      const url = (name: string): string => `${base()}/${name}`;
      return send({ body: { newNonce: url('nonce'), newAccount: url('account'), newOrder: url('order') } });
    }
    if (path === '/nonce') return void response.writeHead(200, { 'replay-nonce': nonce() }).end();
    let text = '';
    request.on('data', (part: Buffer) => (text += part.toString()));
    request.on('end', () => {
      const read = unpack(text, base() + path, nonces, state.accounts);
      if (typeof read === 'string') return send({ status: 400, body: problem(read, read) });
      act(path, read.payload, read.key).then(send, (error: Error) =>
        send({ status: 500, body: problem('serverInternal', error.message) }),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(state, {
    directory: `${base()}/directory`,
    root,
    async close() {
      rmSync(folder, { recursive: true });
      await new Promise((resolve) => (server.close(resolve), server.closeAllConnections()));
    },
  });
}

function problem(type: string, detail: string) {
  return { type: `urn:ietf:params:acme:error:${type}`, detail };
}

/** The payload of a JWS with the key that signed it, or the kind of error (RFC 8555 6.2 to 6.5). */
function unpack(text: string, url: string, nonces: Set<string>, accounts: ReadonlyMap<string, KeyObject>) {
  const jws = JSON.parse(text) as { protected: string; payload: string; signature: string };
  const header = JSON.parse(Buffer.from(jws.protected, 'base64url').toString()) as {
    nonce: string;
    url: string;
    alg: string;
    kid?: string;
    jwk?: Record<string, string>;
  };
  if (!nonces.delete(header.nonce)) return 'badNonce';
  if (header.url !== url || header.alg !== 'ES256') return 'malformed';
  const key =
    header.kid === undefined ? createPublicKey({ key: header.jwk!, format: 'jwk' }) : accounts.get(header.kid);
  if (key === undefined) return 'accountDoesNotExist';
  const signed = Buffer.from(`${jws.protected}.${jws.payload}`);
  const signature = Buffer.from(jws.signature, 'base64url');
  if (!verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, signature)) return 'unauthorized';
  // POST-as-GET has no payload, which is not the same as an empty object.
  const payload =
    jws.payload === '' ? { isGet: true } : (JSON.parse(Buffer.from(jws.payload, 'base64url').toString()) as object);
  return { key, payload: payload as Record<string, unknown> };
}

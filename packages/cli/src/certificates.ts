// Certificates of a proxy node: fetched over the node link beside the image, never in it (control-plane.md B11). What is in use is kept
// on disk, sealed with a key of the node in a file of its own (the choice of B11 for machines without TPM), so that a proxy that
// starts without a controller still serves TLS.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import type { TicketSecrets } from '@openclb/model';
import { sentenceOf } from './errors.ts';
import type { Log } from './log.ts';

export interface Certificate {
  readonly certificate: string;
  readonly privateKey: string;
  /** OCSP response (DER) to staple. */
  readonly ocsp?: Uint8Array;
}

export interface CertificateSource {
  readonly find: (id: string) => Promise<Certificate | undefined>;
  /** Secrets of session tickets; the kept ones where there is no controller. */
  readonly tickets: () => Promise<TicketSecrets | undefined>;
  close(): Promise<void>;
}

const ANSWER_BYTES_MAX = 256 * 1024;
const TIMEOUT_MS = 3_000;
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export async function certificateSource(options: {
  readonly id: string;
  readonly controller: { readonly url: string; readonly token: string };
  readonly stateDir?: string;
  readonly log: Log;
}): Promise<CertificateSource> {
  const { controller, log } = options;
  const agent = new Agent({ maxResponseSize: ANSWER_BYTES_MAX, connect: { timeout: TIMEOUT_MS } });
  const vault = options.stateDir === undefined ? null : await openVault(options.stateDir, options.id, log);
  /** Asks the controller and keeps the answer sealed; without one, what was kept. */
  const keep = async (id: string, path: string): Promise<Secret | undefined> => {
    try {
      const fetched = await fetchSecret(controller, path, agent);
      if (fetched !== undefined) await vault?.put(id, fetched);
      return fetched;
    } catch (error) {
      const kept = await vault?.get(id);
      log.warn(
        { certificate: id, reason: sentenceOf(error), kept: kept !== undefined },
        'no controller to fetch a certificate from',
      );
      return kept;
    }
  };
  return {
    async find(id) {
      const found = await keep(id, `certificates/${encodeURIComponent(id)}`);
      return found === undefined ? undefined : certificateOf(found);
    },
    tickets: async () => (await keep('session tickets', 'ticket-secrets')) as TicketSecrets | undefined,
    close: () => agent.destroy(),
  };
}

/** As the controller sends it. */
type Secret = Readonly<Record<string, unknown>>;

function certificateOf({ certificate, privateKey, ocsp }: Secret): Certificate {
  if (typeof certificate !== 'string' || typeof privateKey !== 'string')
    throw new Error('the controller sent no certificate');
  return { certificate, privateKey, ...(typeof ocsp === 'string' ? { ocsp: Buffer.from(ocsp, 'base64') } : {}) };
}

async function fetchSecret(
  { url, token }: { readonly url: string; readonly token: string },
  path: string,
  dispatcher: Agent,
): Promise<Secret | undefined> {
  const answer = await request(new URL(`/link/v1/${path}`, url), {
    headers: { authorization: `Bearer ${token}` },
    dispatcher,
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
  });
  const text = await answer.body.text();
  if (answer.statusCode === 404) return undefined;
  if (answer.statusCode !== 200) throw new Error(`the controller answered ${answer.statusCode}`);
  return JSON.parse(text) as Secret;
}

interface Vault {
  get(id: string): Promise<Secret | undefined>;
  put(id: string, secret: Secret): Promise<void>;
}

/** One sealed file a certificate: nonce, tag, AES-256-GCM over the JSON with the id as associated data. */
async function openVault(stateDir: string, node: string, log: Log): Promise<Vault> {
  const folder = join(stateDir, `${node}.certificates`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const key = await nodeKey(join(stateDir, `${node}.key`));
  const pathOf = (id: string): string => join(folder, `${Buffer.from(id).toString('hex')}.sealed`);
  return {
    async get(id) {
      try {
        return open(key, id, await readFile(pathOf(id)));
      } catch (error) {
        log.warn({ certificate: id, reason: sentenceOf(error) }, 'no kept certificate can be read');
        return undefined;
      }
    },
    async put(id, secret) {
      const path = pathOf(id);
      await writeFile(`${path}.new`, seal(key, id, secret), { mode: 0o600 });
      await rename(`${path}.new`, path);
    },
  };
}

async function nodeKey(path: string): Promise<Buffer> {
  // 'wx' leaves the choice to the file system: whoever comes first makes the key, everybody else reads it.
  await writeFile(path, randomBytes(KEY_BYTES), { mode: 0o600, flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  const key = await readFile(path);
  if (key.length !== KEY_BYTES)
    throw new Error(`${path} is no key of ${KEY_BYTES} bytes: remove it, and kept certificates are fetched again`);
  return key;
}

function seal(key: Buffer, id: string, secret: Secret): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(id));
  const sealed = Buffer.concat([cipher.update(JSON.stringify(secret)), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), sealed]);
}

function open(key: Buffer, id: string, sealed: Buffer): Secret {
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
    .setAAD(Buffer.from(id))
    .setAuthTag(sealed.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
  const text = Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString();
  return JSON.parse(text) as Secret;
}

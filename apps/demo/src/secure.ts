// Where the story of HTTPS is told: the cluster, or one box on loopback. Its rules are one plan, and its judges run at the tenant's.
import { fileURLToPath } from 'node:url';
import { CERTIFICATES, TRUSTED } from './certificates.ts';
import type { CommandOutcome } from './command.ts';
import type { SecureOrder, SecureOutcome } from './secure-client.ts';
import type { VmAnswer } from './vm.ts';

export const [SHOP, BANK] = ['shop.example', 'bank.example'];
export const CANARY_PERCENT = 25;

export interface SecureStage {
  address: string;
  port: number;
  /** Names that the two servers answer with. */
  first: string;
  second: string;
  clb(...words: string[]): Promise<CommandOutcome>;
  /** Runs any program at the tenant's. */
  atClient(...words: string[]): Promise<CommandOutcome>;
}

/** A target as the API and configuration files write it. */
export type SecureTarget = object;

export interface SecureRule {
  domain: string;
  path: string;
  isDefault?: boolean;
  targets: readonly SecureTarget[];
  policy?: object;
}

/** `broken` accepts connections, so that health checks like it, and resets each as soon as a request has come. */
export function securePlan(first: SecureTarget, second: SecureTarget, broken: SecureTarget): SecureRule[] {
  return [
    { domain: SHOP, path: '/', isDefault: true, targets: [first, second] },
    { domain: SHOP, path: '/cart', targets: [first, second], policy: { stickiness: { type: 'insert' } } },
    { domain: SHOP, path: '/new', targets: [first] },
    { domain: SHOP, path: '/new', targets: [second], policy: { match: { percent: CANARY_PERCENT } } },
    { domain: SHOP, path: '/fragile', targets: [broken, second], policy: { retry: { on: ['reset'] } } },
    { domain: BANK, path: '/', targets: [second] },
  ];
}

export const SECURE_CERTIFICATES = Object.entries(CERTIFICATES).map(([name, pair]) => ({ name, ...pair }));

const script = fileURLToPath(new URL('secure-client.ts', import.meta.url));

/** Asks with node:http2 at the tenant's. */
export async function askSecure(
  { address, port, atClient }: SecureStage,
  order: Omit<SecureOrder, 'address' | 'port' | 'trusted'>,
): Promise<SecureOutcome[]> {
  const word = JSON.stringify({ address, port, trusted: TRUSTED, ...order });
  const { status, stdout, stderr } = await atClient(process.execPath, script, word);
  if (status !== 0) throw new Error(`the HTTP/2 client ended with ${status}: ${stderr.trim().split('\n').pop()}`);
  return JSON.parse(stdout) as SecureOutcome[];
}

/** What the server said; undefined when the outcome is no answer of a server. */
export function serverAnswer({ status, body }: Pick<SecureOutcome, 'status' | 'body'>): VmAnswer | undefined {
  if (status !== 200) return undefined;
  try {
    return JSON.parse(body) as VmAnswer;
  } catch {
    return undefined;
  }
}

export const serverName = (outcome: SecureOutcome): string =>
  serverAnswer(outcome)?.name ?? outcome.error ?? `status ${outcome.status}`;

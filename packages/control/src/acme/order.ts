// One order at an ACME authority (RFC 8555) by acme-client: account, HTTP-01 challenges, certificate.
import { X509Certificate } from 'node:crypto';
import { ACME_DIRECTORY, type AcmeOrder } from '@openclb/model';
import acme from 'acme-client';

export interface Challenge {
  readonly token: string;
  readonly answer: string;
}

export interface Issued {
  /** Chain in PEM, the server certificate first. */
  readonly certificate: string;
  readonly privateKey: string;
}

/** While an authority has not made up its mind; 1 s to 10 s between two questions, for about a minute. */
const POLLING = { backoffAttempts: 10, backoffMin: 1000, backoffMax: 10_000 } as const;

export async function newAccountKey(): Promise<string> {
  return (await acme.crypto.createPrivateEcdsaKey()).toString();
}

/** `present` resolves when every proxy gives the answers. Rejects with what the authority says. */
export async function runOrder(
  { domains, email, directory = ACME_DIRECTORY }: AcmeOrder,
  accountKey: string,
  present: (challenges: readonly Challenge[]) => Promise<void>,
  pollMs?: number,
): Promise<Issued> {
  const polling = pollMs === undefined ? POLLING : { ...POLLING, backoffMin: pollMs, backoffMax: pollMs * 4 };
  const client = new acme.Client({ directoryUrl: directory, accountKey, ...polling });
  await client.createAccount({
    termsOfServiceAgreed: true,
    ...(email === undefined ? {} : { contact: [`mailto:${email}`] }),
  });
  const identifiers = domains.map((value) => ({ type: 'dns', value }));
  const order = await client.createOrder({ identifiers });
  const open = (await client.getAuthorizations(order)).filter(({ status }) => status === 'pending');
  const challenges = open.map(({ identifier, challenges: offered }) => {
    const found = offered.find(({ type }) => type === 'http-01');
    if (found === undefined) throw new Error(`the authority offers no http-01 challenge for ${identifier.value}`);
    if (!/^[A-Za-z0-9_-]{1,200}$/.test(found.token)) throw new Error('the authority has sent a token that is none');
    return found;
  });
  const answers = await Promise.all(
    challenges.map(async (one) => ({ token: one.token, answer: await client.getChallengeKeyAuthorization(one) })),
  );
  await present(answers);
  for (const challenge of challenges) {
    await client.completeChallenge(challenge);
    await client.waitForValidStatus(challenge);
  }
  const [key, csr] = await acme.crypto.createCsr({ altNames: domains }, await acme.crypto.createPrivateEcdsaKey());
  const certificate = await client.getCertificate(await client.finalizeOrder(order, csr));
  return checked({ certificate, privateKey: key.toString() }, domains);
}

/** An authority is a stranger: what it sends is looked at before it is served. */
function checked(issued: Issued, domains: readonly string[]): Issued {
  const leaf = new X509Certificate(issued.certificate);
  const missing = domains.find((domain) => leaf.checkHost(domain) === undefined);
  if (missing !== undefined) throw new Error(`the certificate of the authority does not name ${missing}`);
  return issued;
}

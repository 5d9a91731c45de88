// Lines 10 to 12 of the story: HTTPS with SNI and HTTP/2; a pinned session and a canary; a failure that the client never sees, what the
// log says of it, and what `clb explain` says of requests. The same functions are told in the cluster and on loopback.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TRUSTED } from '../certificates.ts';
import { BANK, CANARY_PERCENT, SHOP, askSecure, serverAnswer, serverName } from '../secure.ts';
import type { SecureStage } from '../secure.ts';
import type { Teller } from '../tell.ts';
import { tally } from '../watch.ts';

const PINNED_REQUESTS = 12;
const CANARY_CONNECTIONS = 10;
const CANARY_REQUESTS_EACH = 100;
const FRAGILE_REQUESTS = 8;
const COOKIE = 'tgw_l7_route';

export async function secureNames(stage: SecureStage, tell: Teller): Promise<void> {
  const seen = (
    await Promise.all([SHOP, BANK].map((serverName) => askSecure(stage, { serverName, path: '/' })))
  ).flat();
  tell.claim(
    'two names on one address and port: SNI picks the certificate, ALPN agrees on h2, and HTTP/2 requests are answered',
    seen.length === 2 &&
      seen.every(({ alpn }) => alpn === 'h2') &&
      seen[0]?.certificate === SHOP &&
      seen[1]?.certificate === BANK &&
      serverName(seen[1]) === stage.second,
    seen.map((one) => `${one.certificate || one.error} by ${one.alpn}, answered by ${serverName(one)}`).join('; '),
  );
  const header = serverAnswer(seen[0] ?? { status: 0, body: '' })?.headers['x-client-proto'];
  const [crossed] = await askSecure(stage, { serverName: SHOP, authority: BANK, path: '/' });
  tell.claim(
    'targets are told that it was https; a connection that was made for one name gets 421 for the other',
    header === 'https' && crossed?.status === 421,
    `x-client-proto ${header}; ${BANK} on the connection of ${SHOP}: ${crossed?.error ?? crossed?.status}`,
  );
  await claimCurl(stage, tell);
}

/** A client that none of this repository wrote, where it is installed; it checks the certificates. */
async function claimCurl(stage: SecureStage, tell: Teller): Promise<void> {
  const version = spawnSync('curl', ['--version'], { encoding: 'utf8' });
  if (version.error) return tell.note('curl is not installed, so node:http2 is the only judge of this line');
  const flags = /\bHTTP2\b/.test(version.stdout) ? ['--http2', '--http1.1'] : ['--http1.1'];
  const folder = mkdtempSync(join(tmpdir(), 'openclb-trusted-'));
  const file = join(folder, 'trusted.pem');
  writeFileSync(file, TRUSTED);
  const asked = flags.flatMap((flag) => [SHOP, BANK].map((name) => ({ flag, name })));
  const address = stage.address.includes(':') ? `[${stage.address}]` : stage.address;
  const told = await Promise.all(
    asked.map(async ({ flag, name }) => {
      const resolve = ['--resolve', `${name}:${stage.port}:${address}`];
      const words = ['--silent', '--show-error', '--max-time', '5', '--cacert', file, flag, ...resolve];
      const shown = ['--write-out', ' HTTP/%{http_version} %{http_code}', `https://${name}:${stage.port}/`];
      const { stdout, stderr } = await stage.atClient('curl', ...words, ...shown);
      return /HTTP\/[\d.]+ \d+$/.exec(stdout)?.[0] ?? stderr.trim();
    }),
  );
  rmSync(folder, { recursive: true });
  const isAsAsked = asked.every(({ flag }, at) => told[at] === (flag === '--http2' ? 'HTTP/2 200' : 'HTTP/1.1 200'));
  tell.claim(
    'curl, which verifies the certificates, is answered for both names over HTTP/2 and HTTP/1.1',
    isAsAsked,
    asked.map(({ name }, at) => `${name} ${told[at]}`).join('; '),
  );
}

/** The first answer's cookie, as a client would send it back. */
async function pin(stage: SecureStage): Promise<{ cookie: string; name: string }> {
  const [first] = await askSecure(stage, { serverName: SHOP, path: '/cart/open' });
  const cookie = new RegExp(`${COOKIE}=[^;,]+`).exec(first?.headers['set-cookie'] ?? '')?.[0] ?? '';
  return { cookie, name: first ? serverName(first) : 'nobody' };
}

export async function pinnedAndCanary(stage: SecureStage, tell: Teller): Promise<void> {
  const { cookie, name } = await pin(stage);
  const order = { serverName: SHOP, path: '/cart/item', connections: PINNED_REQUESTS };
  const [pinned, free] = await Promise.all([
    askSecure(stage, { ...order, headers: { cookie } }),
    askSecure(stage, { ...order, requestsEach: 2 }),
  ]);
  const [bound, spread] = [tally(pinned.map(serverName)), tally(free.map(serverName))];
  tell.claim(
    'the cookie of the first answer pins the session: each later connection goes to the same server, those without it to both',
    cookie !== '' && bound.counts[name] === PINNED_REQUESTS && Object.keys(spread.counts).length === 2,
    `${cookie.slice(0, 24)}… from ${name}; ${PINNED_REQUESTS} connections with it: ${bound.text}; without: ${spread.text}`,
  );
  const canary = await askSecure(stage, {
    serverName: SHOP,
    path: '/new/page',
    connections: CANARY_CONNECTIONS,
    requestsEach: CANARY_REQUESTS_EACH,
  });
  const { counts, text } = tally(canary.map(serverName));
  const share = CANARY_PERCENT / 100;
  const asked = CANARY_CONNECTIONS * CANARY_REQUESTS_EACH;
  // Five standard deviations of the binomial: one honest run in a million is outside.
  const room = 5 * Math.sqrt((share * (1 - share)) / asked);
  const got = (counts[stage.second] ?? 0) / asked;
  tell.claim(
    `a canary gets its ${CANARY_PERCENT} % of the requests, and the rest stays where it was`,
    (counts[stage.first] ?? 0) + (counts[stage.second] ?? 0) === asked && Math.abs(got - share) < room,
    `${asked} requests: ${text}; ${(got * 100).toFixed(1)} %, allowed ${CANARY_PERCENT} ± ${(room * 100).toFixed(1)}`,
  );
}

export async function retriedAndExplained(stage: SecureStage, tell: Teller): Promise<void> {
  const outcomes = await askSecure(stage, { serverName: SHOP, path: '/fragile', connections: FRAGILE_REQUESTS });
  const { counts, text } = tally(outcomes.map(serverName));
  const where = 'path=/fragile and attempts>1';
  const words = ['logs', '--since', '1m', '--where', where];
  const [shown, json] = await Promise.all([stage.clb(...words), stage.clb(...words, '--json')]);
  const rows = json.status === 0 ? (JSON.parse(json.stdout) as Record<string, string | number>[]) : [];
  tell.claim(
    'half of the targets reset every connection, and the client never sees it: another target is tried',
    counts[stage.second] === FRAGILE_REQUESTS && rows.length > 0,
    `${FRAGILE_REQUESTS} requests: ${text}; ${rows.length} of them needed a second target`,
  );
  for (const line of shown.stdout.trimEnd().split('\n').slice(0, 2)) tell.note(line);
  tell.claim(
    `clb logs --since 1m --where '${where}' names the retries`,
    rows.length > 0 &&
      rows.every(
        ({ attempts, status, uri, host }) => attempts === 2 && status === 200 && uri === '/fragile' && host === SHOP,
      ) &&
      shown.stdout.includes('2 tries'),
    rows.length > 0 ? `${rows.length} rows, each with attempts 2 and status 200` : json.stderr.trim() || 'no row',
  );
  await explained(stage, tell);
}

interface Explained {
  node: string;
  verdict: string;
  steps: { step: string; text: string; data: { candidates?: string[]; target?: string } }[];
}

/** Of a pinned request and of one whose rule has a single target: first the explanation, then the request itself. */
async function explained(stage: SecureStage, tell: Teller): Promise<void> {
  const { cookie } = await pin(stage);
  const questions = [
    { name: SHOP, path: '/cart/pay', headers: { cookie } },
    { name: BANK, path: '/account', headers: {} },
  ];
  const compared = await Promise.all(
    questions.map(async ({ name, path, headers }) => {
      const url = `https://${name}:${stage.port}${path}`;
      const fields = Object.entries(headers).flatMap(([field, value]) => ['--header', `${field}: ${value}`]);
      const words = ['explain', '--request', `GET ${url}`, '--vip', stage.address, ...fields, '--json'];
      const { status, stdout, stderr } = await stage.clb(...words);
      if (status !== 0) return { isEqual: false, text: stderr.trim() };
      const select = (JSON.parse(stdout) as Explained).steps.find(({ step, data }) => step === 'select' && data.target);
      const told = /\(([^ ,]+:\d+),/.exec(select?.text ?? '')?.[1] ?? 'nothing';
      const [outcome] = await askSecure(stage, { serverName: name, path, headers });
      const answer = outcome && serverAnswer(outcome);
      const went = answer ? `${answer.local}:${answer.localPort}` : (outcome?.error ?? `status ${outcome?.status}`);
      return { isEqual: told === went, text: `${name}${path}: ${select?.text.split(';')[0]}; it went to ${went}` };
    }),
  );
  tell.claim(
    'clb explain --request names the target, and the request then goes there',
    compared.every(({ isEqual }) => isEqual),
    compared.map(({ text }) => text).join('; '),
  );
}

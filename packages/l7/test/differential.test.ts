// Accept or refuse: our parser against node:http (llhttp) on mutated requests. A difference is a bug or one of the stricter rules below.
import http from 'node:http';
import net from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { Body, Framing } from '../src/codec/body.ts';
import { checkRequest, Head, parseRequest, parseResponse } from '../src/codec/h1.ts';
import { admit } from '../src/phase/admit.ts';
import { Exchange, type Downstream, type ProxyContext } from '../src/state.ts';

/** `accept N`: a message with N bytes of content. */
type Verdict = `accept ${number}` | 'refuse' | 'wait';

/** Our verdict on the first message, and where it ends. */
function ours(bytes: Buffer): { verdict: Verdict; end: number } {
  const end = bytes.length;
  const head = new Head();
  const next = parseRequest(head, bytes, 0, end, 16_384);
  if (next === 0) return { verdict: 'wait', end };
  if (next < 0 || checkRequest(head) < 0) return { verdict: 'refuse', end };
  const exchange = new Exchange(
    { limits: { bodyBytesMax: 1e9 } } as unknown as ProxyContext,
    { scheme: 'http' } as unknown as Downstream,
  );
  exchange.method = head.method;
  exchange.minor = head.minor;
  if (admit(exchange, head) !== null) return { verdict: 'refuse', end };
  const body = new Body();
  if (head.isChunked) body.begin(Framing.Chunked, 0);
  else body.begin(Framing.Length, Math.max(0, head.contentLength));
  const after = body.isDone ? next : body.consume(bytes, next, end);
  if (after < 0) return { verdict: 'refuse', end };
  return { verdict: body.isDone ? `accept ${body.bytes}` : 'wait', end: after };
}

interface Reference {
  judge(bytes: Buffer, waitMs?: number): Promise<Verdict>;
}

/** node:http: a request that ends is accepted, `clientError` is a refusal, neither is a wait for more. */
async function reference(): Promise<Reference> {
  const waiting = new Map<number, (verdict: Verdict) => void>();
  const settle = (socket: net.Socket, verdict: Verdict): void => waiting.get(socket.remotePort ?? 0)?.(verdict);
  const server = http.createServer({ requireHostHeader: true, requestTimeout: 0 }, (request) => {
    let length = 0;
    request.on('error', () => {});
    request.on('data', (chunk: Buffer) => (length += chunk.length));
    request.on('end', () => settle(request.socket, `accept ${length}`));
  });
  server.on('checkExpectation', (request: http.IncomingMessage) => settle(request.socket, 'refuse'));
  for (const event of ['connect', 'upgrade']) server.on(event, (_, socket: net.Socket) => settle(socket, 'refuse'));
  server.on('clientError', (_, socket: net.Socket) => settle(socket, 'refuse'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as net.AddressInfo;
  return {
    judge: async (bytes, waitMs = 30) => {
      const socket = net.connect(port, '127.0.0.1');
      socket.on('error', () => {});
      const { promise, resolve } = Promise.withResolvers<Verdict>();
      socket.once('connect', () => {
        waiting.set(socket.localPort!, resolve);
        socket.write(bytes, () => setTimeout(() => resolve('wait'), waitMs));
      });
      // A missing Host is answered by the server itself, without an event.
      socket.on('data', (chunk: Buffer) => /^HTTP\/1\.1 [45]/.test(chunk.toString('latin1')) && resolve('refuse'));
      const verdict = await promise;
      waiting.delete(socket.localPort!);
      socket.destroy();
      return verdict;
    },
  };
}

/** Where we refuse and llhttp accepts, on purpose (README). */
const STRICTER: readonly (readonly [name: string, rule: RegExp])[] = [
  ['two Host fields', /^host:.*\r\n(?:.*\r\n)*?host:/im],
  ['a Host that is no host', /^host:(?![ \t]*(?:[\w.~!$&'()*+,;=%-]+|\[[\w:.]+\])(?::\d{0,5})?[ \t]*\r\n)/im],
  ['a Content-Length list or repetition', /^content-length:.*\r\n(?:.*\r\n)*?content-length:/im],
  ['a coding that is not exactly chunked', /^transfer-encoding:(?![ \t]*chunked[ \t]*\r\n)/im],
  ['a repeated coding', /^transfer-encoding:.*\r\n(?:.*\r\n)*?transfer-encoding:/im],
  ['a coding in HTTP/1.0', /HTTP\/1\.0\r\n[^]*^transfer-encoding:/im],
  ['a fragment or a high byte in the target', /^\S+ \S*[#\x80-\xff]/],
  ['a target that is no path', /^\S+ (?!\/|http:\/\/)/],
  ['an asterisk for another method than OPTIONS', /^(?!OPTIONS)\S+ \* /],
  ['no version', /^\S* ?\S*\r?\n/],
  ['two spaces before the version', /^\S+ \S+ {2,}HTTP/],
  ['the preface of HTTP/2', /^[^\r\n]*HTTP\/2\.0/],
  ['a chunk extension without a name or value', /\r\n[\da-f]+[^\r\n]*(?:;[;=]|[;=]\r\n)/i],
  ['more than one empty line first', /^(?:\r\n){2}|^\n|^\r(?!\n)/],
  ['a list of Connection that is no list', /^connection:/im],
  ['CONNECT and TRACE', /^(?:CONNECT|TRACE) /],
  ['a length of 16 digits', /^content-length:[ \t]*\d{16}/im],
  ['a chunk size of 14 digits', /\r\n[\da-f]{14}/i],
  ['an expectation that is not 100-continue', /^expect:/im],
  ['an authority that is no host', /^\S+ http:\/\/(?![\w.~-]+(?::\d*)?[/? ])/],
];

const SEEDS = [
  'GET / HTTP/1.1\r\nHost: a.test\r\n\r\n',
  'GET /a/b?c=d HTTP/1.1\r\nHost: a.test:80\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n',
  'POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello',
  'POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  'POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-T: 1\r\n\r\n',
  'GET http://b.test/q HTTP/1.1\r\nHost: a.test\r\n\r\n',
  'OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n',
  'GET / HTTP/1.0\r\nX-A:  b \r\n\r\n',
  'PUT / HTTP/1.1\r\nHost: [::1]:80\r\nX-Bin: \x80\xff\r\nContent-Length: 0\r\n\r\n',
];
const PIECES = (
  '\r\n|\n|\r| |\t|\0|:|;|,|0|5|a|x|\x7f|\x80|#|/|%|"|(|\x0b|HTTP/1.1|+|-|0x|' +
  'Host: b.test\r\n|Content-Length: 5\r\n|Transfer-Encoding: chunked\r\n|Connection: close\r\n'
).split('|');

/** xorshift32, so that a failure can be repeated. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function mutate(text: string, next: (below: number) => number): string {
  let result = text;
  for (let edits = 1 + next(2); edits > 0; edits--) {
    const at = next(result.length + 1);
    const kind = next(4);
    const piece = PIECES[next(PIECES.length)]!;
    if (kind === 0) result = result.slice(0, at) + piece + result.slice(at);
    else if (kind === 1) result = result.slice(0, at) + result.slice(at + 1 + next(3));
    else if (kind === 2) result = result.slice(0, at) + piece + result.slice(at + piece.length);
    else result = result.slice(0, at) + String.fromCharCode(next(256)) + result.slice(at + 1);
  }
  return result;
}

test('both accept the seeds', async () => {
  const { judge } = await reference();
  for (const seed of SEEDS) {
    const bytes = Buffer.from(seed, 'latin1');
    const { verdict } = ours(bytes);
    expect(verdict).toMatch(/^accept/);
    expect([await judge(bytes), seed]).toEqual([verdict, seed]);
  }
});

test('on mutated requests we accept nothing that llhttp refuses, and refuse more only by a listed rule', async () => {
  const { judge } = await reference();
  const next = random(Number(process.env['FUZZ_SEED'] ?? 20_261_120));
  const rounds = Number(process.env['FUZZ_ROUNDS'] ?? 600);
  const differences: string[] = [];
  const seen = { accept: 0, refuse: 0, wait: 0 };
  for (let round = 0; round < rounds; round++) {
    const text = mutate(SEEDS[next(SEEDS.length)]!, next);
    const bytes = Buffer.from(text, 'latin1');
    const { verdict, end } = ours(bytes);
    seen[verdict.split(' ')[0] as keyof typeof seen]++;
    // What stands behind our message is another one; that the two messages end alike is seen from their lengths.
    let theirs = await judge(bytes.subarray(0, end));
    // On a busy machine a verdict may take its time.
    if (theirs === 'wait' && verdict !== 'wait') theirs = await judge(bytes.subarray(0, end), 500);
    if (verdict === theirs) continue;
    if (verdict === 'refuse' && (theirs === 'wait' || STRICTER.some(([, rule]) => rule.test(text)))) continue;
    // Whoever waits for more has let nothing through yet: it must refuse in the end.
    if (
      verdict === 'wait' &&
      theirs === 'refuse' &&
      !ours(Buffer.from(`${text}\r\n\r\n0\r\n\r\n`, 'latin1')).verdict.startsWith('accept')
    )
      continue;
    differences.push(`${verdict} / ${theirs}: ${JSON.stringify(text)}`);
  }
  expect(differences).toEqual([]);
  // Not hollow: the mutations reach every kind of verdict.
  expect(Math.min(seen.accept, seen.refuse, seen.wait)).toBeGreaterThan(rounds / 200);
});

test('any bytes whatever give a verdict and no exception, whole and byte by byte alike', () => {
  const next = random(7);
  const head = new Head();
  for (let round = 0; round < 20_000; round++) {
    const bytes = Buffer.from(mutate(mutate(SEEDS[next(SEEDS.length)]!, next), next), 'latin1');
    const whole = parseRequest(head, bytes, 0, bytes.length, 16_384);
    let at = 0;
    let part = 0;
    while (part === 0 && at < bytes.length) part = parseRequest(head, bytes, 0, ++at, 16_384);
    // Which of two errors is met first may differ; what is let through may not.
    expect(part < 0 ? -1 : part).toBe(whole < 0 ? -1 : whole);
  }
});

const RESPONSES = [
  'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
  'HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  'HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\n',
  'HTTP/1.1 304\r\nETag: "x"\r\nContent-Length: 10\r\n\r\n',
  'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
];

test('any bytes of a target give a verdict and no exception, whole and byte by byte alike', () => {
  const next = random(11);
  const head = new Head();
  let good = 0;
  for (let round = 0; round < 20_000; round++) {
    const bytes = Buffer.from(mutate(RESPONSES[next(RESPONSES.length)]!, next), 'latin1');
    const whole = parseResponse(head, bytes, 0, bytes.length);
    if (whole > 0) good++;
    let at = 0;
    let part = 0;
    while (part === 0 && at < bytes.length) part = parseResponse(head, bytes, 0, ++at);
    expect(part < 0 ? -1 : part).toBe(whole < 0 ? -1 : whole);
  }
  expect(good).toBeGreaterThan(2000);
});

test('a body is cut alike whole and in pieces of any size, and what is forwarded is a body again', () => {
  const next = random(13);
  for (let round = 0; round < 3000; round++) {
    const text = mutate('5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\nrest', next);
    const bytes = Buffer.from(text, 'latin1');
    const run = (size: (left: number) => number): string => {
      const body = new Body();
      body.begin(Framing.Chunked, 0);
      body.keepsTrailers = true;
      let out = '';
      for (let at = 0; at < bytes.length && !body.isDone;) {
        const end = Math.min(bytes.length, at + size(bytes.length - at));
        const after = body.consume(bytes, at, end);
        if (after < 0) return 'refused';
        for (let index = 0; index < body.used; index += 2) {
          out += bytes.toString('latin1', body.pieces[index], body.pieces[index + 1]);
        }
        out += body.tail;
        at = after;
      }
      return body.isDone ? out : 'unfinished';
    };
    const whole = run((left) => left);
    expect(run(() => 1)).toBe(whole);
    expect(run(() => 1 + next(7))).toBe(whole);
    if (whole === 'refused' || whole === 'unfinished') continue;
    const again = new Body();
    again.begin(Framing.Chunked, 0);
    const forwarded = Buffer.from(whole, 'latin1');
    expect(again.consume(forwarded, 0, forwarded.length)).toBe(forwarded.length);
    expect(again.isDone).toBe(true);
  }
});

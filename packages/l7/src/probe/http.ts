// An HTTP probe on a socket of its own (A118, tencent-cloud.md C-HealthCheck): HEAD or GET, HTTP/1.1 with Host or HTTP/1.0, judged by
// the class of its status and, where the check wants it, by a text in its body. The answer is parsed as strictly as any other.
import type net from 'node:net';
import type { CheckSpec } from '@openclb/model';
import { Body, Framing } from '../codec/body.ts';
import { Head, INCOMPLETE, parseResponse } from '../codec/h1.ts';
import type { TargetIdentity } from '../upstream.ts';
import type { ProbeOutcome } from './probe.ts';

const HEAD_BYTES_MAX = 64 * 1024;
const BODY_BYTES_MAX = 64 * 1024;
const DEFAULTS = { method: 'HEAD', path: '/', codes: 2 | 4 } as const satisfies CheckSpec['http'];

export function probeHttp(
  socket: net.Socket,
  identity: TargetIdentity,
  port: number,
  spec: CheckSpec,
): Promise<ProbeOutcome> {
  const http: NonNullable<CheckSpec['http']> = spec.http ?? DEFAULTS;
  const { promise, resolve } = Promise.withResolvers<ProbeOutcome>();
  const end = (outcome: ProbeOutcome): void => {
    clearTimeout(timer);
    socket.destroy();
    resolve(outcome);
  };
  const bad = (reason: string): void => end({ isGood: false, reason });
  const timer = setTimeout(() => bad(`no answer in ${spec.timeoutMs} ms`), spec.timeoutMs);
  const answer = new Answer(http);
  socket.on('error', (error: NodeJS.ErrnoException) => bad(error.code ?? error.message));
  socket.once(spec.type === 'https' ? 'secureConnect' : 'connect', () => {
    socket.write(requestOf(http, identity, port), 'latin1');
  });
  socket.on('data', (chunk: Buffer) => {
    const outcome = answer.read(chunk);
    if (outcome !== null) end(outcome);
  });
  socket.once('close', () => end(answer.closed()));
  return promise;
}

function requestOf(http: NonNullable<CheckSpec['http']>, identity: TargetIdentity, port: number): string {
  const { method, path, host, version = '1.1' } = http;
  const name = identity.address.includes(':') ? `[${identity.address}]` : identity.address;
  const hostLine = version === '1.0' && host === undefined ? '' : `Host: ${host ?? `${name}:${port}`}\r\n`;
  return `${method} ${path} HTTP/${version}\r\n${hostLine}User-Agent: clb-healthcheck\r\nConnection: close\r\n\r\n`;
}

class Answer {
  readonly #http: NonNullable<CheckSpec['http']>;
  readonly #head = new Head();
  readonly #body = new Body();
  #bytes: Buffer = Buffer.alloc(0);
  #text = '';
  #isHeadRead = false;

  constructor(http: NonNullable<CheckSpec['http']>) {
    this.#http = http;
  }

  /** Null: it is not decided yet. */
  read(chunk: Buffer): ProbeOutcome | null {
    if (this.#isHeadRead) return this.#content(chunk, 0);
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    let at = 0;
    for (;;) {
      const next = parseResponse(this.#head, this.#bytes, at, this.#bytes.length);
      if (next < 0) return { isGood: false, reason: 'malformed answer' };
      if (next === INCOMPLETE) {
        const isTooLong = this.#bytes.length > HEAD_BYTES_MAX;
        return isTooLong ? { isGood: false, reason: 'head too large' } : null;
      }
      at = next;
      // A bare 1xx is an answer only where the check says that it is one.
      if (this.#head.status >= 200 || (this.#http.codes & 1) !== 0) break;
    }
    return this.#judge(at);
  }

  #judge(at: number): ProbeOutcome | null {
    const { status } = this.#head;
    if ((this.#http.codes & (1 << (Math.floor(status / 100) - 1))) === 0) {
      return { isGood: false, reason: `status ${status}` };
    }
    if (this.#http.body === undefined || this.#http.method === 'HEAD') return { isGood: true };
    this.#isHeadRead = true;
    const { contentLength, isChunked } = this.#head;
    if (isChunked) this.#body.begin(Framing.Chunked, 0);
    else if (contentLength >= 0) this.#body.begin(Framing.Length, contentLength);
    else this.#body.begin(Framing.UntilClose, 0);
    this.#body.isDecoding = true;
    return this.#content(this.#bytes, at);
  }

  #content(bytes: Buffer, from: number): ProbeOutcome | null {
    const body = this.#body;
    if (from < bytes.length) {
      if (body.consume(bytes, from, bytes.length) < 0) return { isGood: false, reason: 'malformed answer' };
      for (let index = 0; index < body.used; index += 2) {
        this.#text += bytes.toString('latin1', body.pieces[index], body.pieces[index + 1]);
      }
    }
    if (this.#text.includes(this.#wanted)) return { isGood: true };
    const isOver = (body.isDone && body.framing !== Framing.UntilClose) || this.#text.length >= BODY_BYTES_MAX;
    return isOver ? { isGood: false, reason: 'the body does not hold the text' } : null;
  }

  /** Bytes as characters, as the body is kept. */
  get #wanted(): string {
    return Buffer.from(this.#http.body ?? '').toString('latin1');
  }

  closed(): ProbeOutcome {
    const reason = this.#isHeadRead ? 'the body does not hold the text' : 'closed without an answer';
    return { isGood: false, reason };
  }
}

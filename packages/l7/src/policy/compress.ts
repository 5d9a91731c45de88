// Compression of responses: gzip, br, zstd, streamed, with the types and the two modes of Tencent (E5).
// Nothing that has a coding, is a range, or must not be transformed is touched (RFC 9110 8.4, 14.2; RFC 9111 5.2.2.6).
import { createBrotliCompress, createGzip, createZstdCompress, constants } from 'node:zlib';
import type { Transform } from 'node:stream';
import type { Compression } from '@openclb/model';
import type { Head } from '../codec/h1.ts';
import { STRIDE } from '../codec/h1.ts';
import { isNamed } from './view.ts';

export type Coding = 'gzip' | 'br' | 'zstd';

const TYPES: ReadonlySet<string> = new Set(
  (
    'application/atom+xml application/javascript application/json application/rss+xml application/vnd.ms-fontobject ' +
    'application/x-font-ttf application/x-javascript application/x-web-app-manifest+json application/xhtml+xml ' +
    'application/xml font/opentype image/svg+xml image/x-icon text/css text/html text/javascript text/plain ' +
    'text/x-component text/xml'
  ).split(' '),
);
const PREFERENCE: readonly Coding[] = ['zstd', 'br', 'gzip'];
const GZIP_LEVEL = 4;
const BROTLI_QUALITY = 4;

export class Compressor {
  readonly #codings: readonly Coding[];
  readonly #minBytes: number;

  constructor({ codings = [], minBytes = 256 }: Compression) {
    this.#codings = codings.length > 0 ? codings : PREFERENCE;
    this.#minBytes = minBytes;
  }

  /** Whether other clients would get this response compressed, so that caches must know (Vary). */
  suits(head: Head): boolean {
    if (head.status === 206 || head.status === 204 || head.status === 304 || head.status < 200) return false;
    if (head.contentLength >= 0 && head.contentLength < this.#minBytes) return false;
    const type = valueOf(head, 'content-type');
    if (type === null || !TYPES.has(type.split(';')[0]!.trim().toLowerCase())) return false;
    if (valueOf(head, 'content-encoding') !== null || valueOf(head, 'content-range') !== null) return false;
    return !/(?:^|,)\s*no-transform\s*(?:,|$)/i.test(valueOf(head, 'cache-control') ?? '');
  }

  /** What the client accepts of it (RFC 9110 12.5.3), in our order among equals; null: none. */
  choose(accepted: string): Coding | null {
    const weights = new Map<string, number>();
    for (const item of accepted.toLowerCase().split(',')) {
      const [name = '', ...parameters] = item.split(';').map((part) => part.trim());
      const q = parameters.find((parameter) => parameter.startsWith('q='));
      weights.set(name === 'x-gzip' ? 'gzip' : name, q === undefined ? 1 : Number(q.slice(2)) || 0);
    }
    let best: Coding | null = null;
    let most = 0;
    for (const coding of this.#codings) {
      const weight = weights.get(coding) ?? weights.get('*') ?? 0;
      if (weight > most) {
        best = coding;
        most = weight;
      }
    }
    return best;
  }
}

export function compressorOf(compression: Compression | undefined): Compressor | null {
  return compression?.mode === 'compatibility' ? new Compressor(compression) : null;
}

function valueOf(head: Head, name: string): string | null {
  for (let index = 0, at = 0; index < head.count; index++, at += STRIDE) {
    if (isNamed(head, at, name)) return head.value(at);
  }
  return null;
}

export interface EncoderEvents {
  readonly data: (bytes: Buffer) => void;
  readonly drained: () => void;
  readonly ended: () => void;
  readonly failed: () => void;
}

/** One response body on its way through a coding. */
export class Encoder {
  readonly #stream: Transform & { flush(callback?: () => void): void };
  readonly #flushes: boolean;
  isFull = false;
  #isDestroyed = false;

  /** `flushes`: the body has no known length, so its parts may be awaited one by one and must not be kept (A125). */
  constructor(coding: Coding, flushes: boolean, events: EncoderEvents) {
    this.#stream = streamOf(coding);
    this.#flushes = flushes;
    this.#stream.on('data', (bytes: Buffer) => {
      if (!this.#isDestroyed) events.data(bytes);
    });
    this.#stream.on('drain', () => {
      this.isFull = false;
      if (!this.#isDestroyed) events.drained();
    });
    this.#stream.on('end', () => {
      if (!this.#isDestroyed) events.ended();
    });
    this.#stream.on('error', () => {
      if (!this.#isDestroyed) events.failed();
    });
  }

  write(bytes: Buffer): void {
    if (!this.#stream.write(bytes)) this.isFull = true;
  }

  /** To be called behind the pieces of one read. */
  flush(): void {
    if (this.#flushes) this.#stream.flush();
  }

  end(): void {
    this.#stream.end();
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  destroy(): void {
    this.#isDestroyed = true;
    this.#stream.destroy();
  }
}

function streamOf(coding: Coding): ReturnType<typeof createGzip> {
  switch (coding) {
    case 'br':
      return createBrotliCompress({
        flush: constants.BROTLI_OPERATION_PROCESS,
        params: { [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY },
      }) as unknown as ReturnType<typeof createGzip>;
    case 'zstd':
      return createZstdCompress() as unknown as ReturnType<typeof createGzip>;
    default:
      return createGzip({ level: GZIP_LEVEL });
  }
}

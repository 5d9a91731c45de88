// Bodies of requests that may have to be sent again. Strings and bytes can; a stream of chunks only as long as nobody has read of it.
import type { Dispatcher } from 'undici';

type Body = Dispatcher.DispatchOptions['body'];

/** undici reads such a body anew with every attempt. */
export function isReplayable(body: Body): boolean {
  return (
    body === undefined ||
    body === null ||
    typeof body === 'string' ||
    body instanceof Uint8Array ||
    body instanceof Blob ||
    body instanceof FormData
  );
}

/** An async iterable (what `fetch` makes of every body) that knows whether its first chunk has been asked for. */
export class OnceBody implements AsyncIterable<unknown> {
  readonly inner: AsyncIterable<unknown>;
  isStarted = false;

  constructor(inner: AsyncIterable<unknown>) {
    this.inner = inner;
  }

  /** Null for every other kind of body; streams are among them, because undici destroys one whose attempt has failed. */
  static wrap(body: unknown): OnceBody | null {
    if (typeof body !== 'object' || body === null || !(Symbol.asyncIterator in body)) return null;
    return 'pipe' in body ? null : new OnceBody(body as AsyncIterable<unknown>);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<unknown> {
    this.isStarted = true;
    yield* this.inner;
  }
}

// The Host field of balanced requests: the name that was asked for, not the address of the target.
import type { Dispatcher } from 'undici';

type Headers = Dispatcher.DispatchOptions['headers'];

/** The same header fields in the form in which they came, with Host where the caller set none. */
export function withHost(headers: Headers, host: string): Headers {
  if (headers === undefined || headers === null) return { host };
  if (Array.isArray(headers)) {
    const hasHost = headers.some((name, index) => index % 2 === 0 && isHost(name));
    return hasHost ? headers : ['host', host, ...headers];
  }
  if (Symbol.iterator in headers) {
    const pairs = [...(headers as Iterable<[string, string]>)];
    return pairs.some(([name]) => isHost(name)) ? pairs.flat() : ['host', host, ...pairs.flat()];
  }
  return Object.keys(headers).some(isHost) ? headers : { host, ...headers };
}

function isHost(name: unknown): boolean {
  return String(name).toLowerCase() === 'host';
}

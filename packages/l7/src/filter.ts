// Plugin hooks on requests and responses (model/plugin.ts). A proxy without filters never comes here.
import type { FilterAnswer, FilterRequest, FilterResponse } from '@openclb/model';
import { type Head, STRIDE } from './codec/h1.ts';
import type { FailureCode } from './phase/fail.ts';
import type { Exchange } from './state.ts';

const FILTER_TIMEOUT_MS = 5_000;

export function viewRequest(exchange: Exchange, head: Head): FilterRequest {
  const { downstream } = exchange;
  return {
    method: exchange.method,
    target: exchange.target === '' ? head.text(head.targetStart, head.targetEnd) : exchange.target,
    host: exchange.host,
    headers: fieldsOf(head),
    client: { address: downstream.clientAddress, port: downstream.clientPort },
    listener: exchange.listener?.name ?? '',
  };
}

export function viewResponse(head: Head): FilterResponse {
  return { status: head.status, headers: fieldsOf(head) };
}

function fieldsOf(head: Head): [string, string][] {
  const fields: [string, string][] = [];
  for (let index = 0; index < head.count; index++) {
    fields.push([head.name(index * STRIDE).toLowerCase(), head.value(index * STRIDE)]);
  }
  return fields;
}

export type FilterOutcome = { readonly answer: FilterAnswer } | { readonly failure: FailureCode } | null;

/** Runs the request hooks in order; the first answer ends them. */
export async function filterRequest(exchange: Exchange): Promise<FilterOutcome> {
  const request = exchange.filtered!;
  for (const filter of exchange.proxy.filters) {
    if (filter.request === undefined) continue;
    try {
      const answer = await inTime(filter.request(request));
      if (answer === LATE) return { failure: 'filter-timeout' };
      if (answer !== undefined && answer !== null)
        return isCleanAnswer(answer) ? { answer } : { failure: 'filter-error' };
      if (!isCleanRequest(request)) throw new Error('the filter left a method, target or header that cannot be sent');
    } catch (error) {
      exchange.proxy.onFilterError(filter.name, error);
      return { failure: 'filter-error' };
    }
  }
  return null;
}

/** Runs the response hooks in order. One that fails is reported and its changes to the order of fields stay. */
export async function filterResponse(exchange: Exchange, response: FilterResponse): Promise<FilterOutcome> {
  for (const filter of exchange.proxy.filters) {
    if (filter.response === undefined) continue;
    try {
      if ((await inTime(filter.response(response, exchange.filtered!))) === LATE) return { failure: 'filter-timeout' };
      const isStatus = Number.isInteger(response.status) && response.status >= 200 && response.status <= 599;
      if (!isStatus || !areCleanFields(response.headers))
        throw new Error('the filter left a response that cannot be sent');
    } catch (error) {
      exchange.proxy.onFilterError(filter.name, error);
      return { failure: 'filter-error' };
    }
  }
  return null;
}

const LATE = Symbol('late');

function inTime<T>(result: T | Promise<T>): T | Promise<T | typeof LATE> {
  if (!(result instanceof Promise)) return result;
  const { promise, resolve } = Promise.withResolvers<typeof LATE>();
  const timer = setTimeout(() => resolve(LATE), FILTER_TIMEOUT_MS);
  return Promise.race([result, promise]).finally(() => clearTimeout(timer));
}

const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const TARGET = /^(?:\/|\*$)[!"$-~]*$/;
const METHOD = /^[A-Z][A-Z-]*$/;

/** A filter's header may hold what a client wrote: nothing in it may become a second line or a second request. */
function areCleanFields(fields: readonly (readonly [string, string])[]): boolean {
  return fields.every(([name, value]) => NAME.test(name) && isCleanValue(value));
}

function isCleanValue(value: string): boolean {
  for (let index = 0; index < value.length; index++) {
    const code = value.charCodeAt(index);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f || code > 0xff) return false;
  }
  return true;
}

function isCleanRequest(request: FilterRequest): boolean {
  return (
    METHOD.test(request.method) &&
    TARGET.test(request.target) &&
    isCleanValue(request.host) &&
    areCleanFields(request.headers)
  );
}

function isCleanAnswer(answer: FilterAnswer): boolean {
  const isStatus = Number.isInteger(answer.status) && answer.status >= 200 && answer.status <= 599;
  return isStatus && areCleanFields(answer.headers ?? []);
}

/** Field lines of a filter's answer; framing is ours. */
export function answerFields(answer: FilterAnswer): string {
  let text = '';
  for (const [name, value] of answer.headers ?? []) {
    if (!/^(?:content-length|transfer-encoding|connection)$/i.test(name)) text += `${name}: ${value}\r\n`;
  }
  return text;
}

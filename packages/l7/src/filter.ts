// Plugin hooks on requests and responses (model/plugin.ts). A proxy without filters never comes here.
import type { FilterAnswer, FilterRequest, FilterResponse, L7Filter } from '@openclb/model';
import { type Head, STRIDE } from './codec/h1.ts';
import { countFailure } from './counters.ts';
import type { FailureCode } from './phase/fail.ts';
import type { Exchange } from './state.ts';

/** Of a hook that names none. */
const FILTER_TIMEOUT_MS = 5_000;
const FILTER_CONCURRENCY_MAX = 10_000;

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

/** Runs the request hooks in order; the first answer ends them. A promise only when a hook gives one. */
export function filterRequest(exchange: Exchange, from = 0): FilterOutcome | Promise<FilterOutcome> {
  const { filters } = exchange.proxy;
  for (let index = from; index < filters.length; index++) {
    const filter = filters[index]!;
    if (filter.request === undefined) continue;
    const kept = filter.onFailure === 'open' ? copyOf(exchange.filtered!) : null;
    const finish = (result: Result<FilterAnswer | void>): FilterOutcome | undefined => {
      const failure = requestFailure(exchange, filter, result);
      if (failure === null) return result.value ? { answer: result.value } : undefined;
      if (kept === null) return { failure };
      // What the hook has done so far, and what it may still do late, is not this request's any more.
      exchange.filtered = kept;
      return undefined;
    };
    const result = run(filter, () => filter.request!(exchange.filtered!));
    if (result instanceof Promise) {
      return result.then((late) => {
        const outcome = finish(late);
        return outcome === undefined ? filterRequest(exchange, index + 1) : outcome;
      });
    }
    const outcome = finish(result);
    if (outcome !== undefined) return outcome;
  }
  return null;
}

/** Runs the response hooks in order. `response` is changed in place. */
export function filterResponse(
  exchange: Exchange,
  response: FilterResponse,
  from = 0,
): FilterOutcome | Promise<FilterOutcome> {
  const { filters } = exchange.proxy;
  for (let index = from; index < filters.length; index++) {
    const filter = filters[index]!;
    if (filter.response === undefined) continue;
    // The hook works on a copy, so that a late or failed one leaves nothing behind.
    const own: FilterResponse = {
      status: response.status,
      headers: response.headers.map(([name, value]) => [name, value]),
    };
    const finish = (result: Result<void>): FilterOutcome | undefined => {
      const failure = responseFailure(exchange, filter, result, own);
      if (failure === null) {
        response.status = own.status;
        response.headers = own.headers;
      }
      return failure === null || filter.onFailure === 'open' ? undefined : { failure };
    };
    const result = run(filter, () => filter.response!(own, exchange.filtered!));
    if (result instanceof Promise) {
      return result.then((late) => {
        const outcome = finish(late);
        return outcome === undefined ? filterResponse(exchange, response, index + 1) : outcome;
      });
    }
    const outcome = finish(result);
    if (outcome !== undefined) return outcome;
  }
  return null;
}

interface Result<T> {
  readonly value?: T;
  readonly failure?: FailureCode;
  readonly error?: unknown;
}

/** Promises of each filter that have not settled, late ones included: they still hold what they hold. */
const inFlight = new WeakMap<L7Filter, number>();

/** Calls a hook within its budget and deadline; never throws, never rejects. */
function run<T>(filter: L7Filter, call: () => T | Promise<T>): Result<T> | Promise<Result<T>> {
  const running = inFlight.get(filter) ?? 0;
  if (running >= (filter.concurrencyMax ?? FILTER_CONCURRENCY_MAX)) return { failure: 'filter-busy' };
  let result: T | Promise<T>;
  try {
    result = call();
  } catch (error) {
    return { failure: 'filter-error', error };
  }
  if (!(result instanceof Promise)) return { value: result };
  inFlight.set(filter, running + 1);
  const settled = result
    .then((value): Result<T> => ({ value }))
    .catch((error: unknown): Result<T> => ({ failure: 'filter-error', error }))
    .finally(() => inFlight.set(filter, inFlight.get(filter)! - 1));
  const { promise, resolve } = Promise.withResolvers<Result<T>>();
  const timer = setTimeout(() => resolve({ failure: 'filter-timeout' }), filter.timeoutMs ?? FILTER_TIMEOUT_MS);
  return Promise.race([settled, promise]).finally(() => clearTimeout(timer));
}

function requestFailure(exchange: Exchange, filter: L7Filter, result: Result<FilterAnswer | void>): FailureCode | null {
  const { value } = result;
  const isClean = value ? isCleanAnswer(value) : isCleanRequest(exchange.filtered!);
  return failureOf(exchange, filter, result, isClean, 'a method, target, header or answer that cannot be sent');
}

function responseFailure(
  exchange: Exchange,
  filter: L7Filter,
  result: Result<void>,
  response: FilterResponse,
): FailureCode | null {
  const isStatus = Number.isInteger(response.status) && response.status >= 200 && response.status <= 599;
  return failureOf(
    exchange,
    filter,
    result,
    isStatus && areCleanFields(response.headers),
    'a response that cannot be sent',
  );
}

function failureOf(
  { proxy }: Exchange,
  filter: L7Filter,
  { failure, error }: Result<unknown>,
  isClean: boolean,
  what: string,
): FailureCode | null {
  if (failure === undefined && isClean) return null;
  const code = failure ?? 'filter-error';
  if (filter.onFailure === 'open') countFailure(proxy.counters, `${code}-open`);
  if (code === 'filter-error') proxy.onFilterError(filter.name, error ?? new Error(`the filter left ${what}`));
  return code;
}

function copyOf(request: FilterRequest): FilterRequest {
  return { ...request, headers: request.headers.map(([name, value]) => [name, value]) };
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

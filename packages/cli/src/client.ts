// The controller's REST API (native dialect) over undici: one call, JSON in and out, problems turned into sentences with a hint.
import type { Problem } from '@openclb/model';
import { Agent, request } from 'undici';
import type { Connection } from './connection.ts';
import { CliError, sentenceOf } from './errors.ts';

/** The largest answer taken; a controller that sends more is not ours. */
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const TIMEOUT_MS = 35_000;

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export interface Client {
  readonly controller: URL;
  call<T>(
    method: Method,
    path: string,
    options?: { body?: unknown; query?: Record<string, string | number | undefined> },
  ): Promise<T>;
  close(): Promise<void>;
}

/** Anything may answer on a wrong URL, so no field is taken for granted. */
type PartialProblem = Partial<Problem>;

/** A refusal by the controller. */
export class ProblemError extends CliError {
  readonly status: number;
  readonly problem: PartialProblem;
  constructor(status: number, problem: PartialProblem, hint: string | undefined) {
    super(problem.detail ?? problem.title ?? `the controller answered ${status}`, { hint, code: problem.code });
    this.name = 'ProblemError';
    this.status = status;
    this.problem = problem;
  }
}

export function createClient(connection: Connection, signal: AbortSignal): Client {
  const agent = new Agent({
    maxResponseSize: ANSWER_BYTES_MAX,
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
    connectTimeout: 5_000,
  });
  return {
    controller: connection.controller,
    async call<T>(
      method: Method,
      path: string,
      options: { body?: unknown; query?: Record<string, string | number | undefined> } = {},
    ) {
      const url = new URL(path, connection.controller);
      for (const [key, value] of Object.entries(options.query ?? {}))
        if (value !== undefined) url.searchParams.set(key, String(value));
      const headers: Record<string, string> = { accept: 'application/json' };
      if (connection.apiKey !== undefined) headers.authorization = `Bearer ${connection.apiKey}`;
      if (options.body !== undefined) headers['content-type'] = 'application/json';
      const body = options.body === undefined ? null : JSON.stringify(options.body);
      const { status, text } = await exchange(url, { method, headers, body, signal, dispatcher: agent });
      const value = parseAnswer(url, status, text);
      if (status >= 400)
        throw new ProblemError(status, problemOf(value), hintFor(status, problemOf(value), connection));
      return value as T;
    },
    close: () => agent.close(),
  };
}

async function exchange(
  url: URL,
  options: NonNullable<Parameters<typeof request>[1]>,
): Promise<{ status: number; text: string }> {
  try {
    const response = await request(url, options);
    return { status: response.statusCode, text: await response.body.text() };
  } catch (error) {
    if (options.signal instanceof AbortSignal && options.signal.aborted) throw error;
    throw new CliError(`no answer from the controller at ${url.origin}: ${causeOf(error)}`, {
      hint: 'start one with `clb controller`, or name another with --controller or CLB_CONTROLLER',
      cause: error,
    });
  }
}

/** Node reports a failed connect to several addresses as one error without a message. */
function causeOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return sentenceOf(error.errors[0]);
  return sentenceOf(error);
}

function parseAnswer(url: URL, status: number, text: string): unknown {
  if (text === '') return null;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CliError(`${url.origin} answered ${status}, but not with JSON`, {
      hint: 'is it an OpenCLB controller? check --controller',
      cause: error,
    });
  }
}

function problemOf(value: unknown): PartialProblem {
  return typeof value === 'object' && value !== null ? value : {};
}

function hintFor(status: number, problem: PartialProblem, connection: Connection): string | undefined {
  if (problem.hint !== undefined) return problem.hint;
  if (status === 401 || status === 403) {
    return connection.apiKey === undefined
      ? 'give the key with --api-key, CLB_API_KEY or apiKey in ~/.config/clb/config.yaml'
      : 'the controller does not know this API key: check --api-key or CLB_API_KEY';
  }
  if (status === 404) return 'list what there is with `clb get <resource>`';
  return undefined;
}

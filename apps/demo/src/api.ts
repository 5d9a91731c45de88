// The tenant's side of the REST API: requests travel from the client's namespace over the underlay to the controller.
import type { Agent } from './agent.ts';
import { NODES } from './topology.ts';

export const API_PORT = 7000;
export const API_KEY = 'demo-api-key';
export const JOIN_TOKEN = 'demo-join-token';
export const CONTROLLER_URL = `http://${NODES.ctl.v4}:${API_PORT}`;

export interface ApiAnswer<T> {
  status: number;
  body: T;
  ms: number;
}

export interface Api {
  /** Any answer, problems as well. */
  ask<T = Record<string, unknown>>(
    method: string,
    path: string,
    body?: unknown,
    timeoutMs?: number,
  ): Promise<ApiAnswer<T>>;
  /** The body of a good answer; a problem becomes an error that says what the controller said. */
  must<T = Record<string, unknown>>(method: string, path: string, body?: unknown, timeoutMs?: number): Promise<T>;
}

const TIMEOUT_MS = 10_000;

export function createApi(agent: Agent): Api {
  const ask: Api['ask'] = async (method, path, body, timeoutMs = TIMEOUT_MS) => {
    const outcome = await agent.get(NODES.ctl.v4, {
      port: API_PORT,
      method,
      path,
      timeoutMs,
      headers: {
        authorization: `Bearer ${API_KEY}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (outcome.error) throw new Error(`${method} ${path}: ${outcome.error}`);
    return {
      status: outcome.status,
      body: outcome.body === '' ? (undefined as never) : JSON.parse(outcome.body),
      ms: outcome.ms,
    };
  };
  const must: Api['must'] = async (method, path, body, timeoutMs) => {
    const answer = await ask(method, path, body, timeoutMs);
    if (answer.status >= 400) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body as never;
  };
  return { ask, must };
}

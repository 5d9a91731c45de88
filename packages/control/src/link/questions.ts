// Questions to a node with an answer that comes back by its own POST: explain, counters, logs, a look at tables, drain. Each waits a bounded time.
import { randomUUID } from 'node:crypto';
import { ClbError, type FromNode } from '@openclb/model';

export type Answer = Extract<
  FromNode,
  { type: 'explained' | 'counted' | 'logged' | 'shadowed' | 'looked' | 'drained' }
>;

/** Whether somebody may wait for it. */
export function isAnswer(message: FromNode): message is Answer {
  return 'request' in message;
}

export interface Questions {
  /** Sends through `send`, which answers false when the node is gone. */
  ask<T extends Answer['type']>(
    node: string,
    type: T,
    send: (request: string) => boolean,
  ): Promise<Extract<Answer, { type: T }>>;
  /** False when nobody waits for it any more. */
  answer(node: string, message: Answer): boolean;
  close(): void;
}

const ANSWER_MS_MAX = 2_000;
const WAITING_MAX = 1_000;

export function questions(): Questions {
  const waiting = new Map<
    string,
    {
      node: string;
      type: string;
      resolve: (answer: Answer) => void;
      timer: NodeJS.Timeout;
      reject: (error: Error) => void;
    }
  >();
  return {
    ask(node, type, send) {
      if (waiting.size >= WAITING_MAX)
        return Promise.reject(new ClbError('LimitExceeded', { limit: WAITING_MAX, what: 'open questions' }));
      const request = randomUUID();
      return new Promise((resolve, reject) => {
        const refuse = (): void => {
          waiting.delete(request);
          reject(new ClbError('NodeTimeout', { id: node, ms: ANSWER_MS_MAX }));
        };
        const timer = setTimeout(refuse, ANSWER_MS_MAX);
        waiting.set(request, { node, type, resolve: resolve as (answer: Answer) => void, timer, reject });
        if (!send(request)) {
          clearTimeout(timer);
          waiting.delete(request);
          reject(new ClbError('NoNodeToAsk'));
        }
      });
    },
    answer(node, message) {
      const entry = waiting.get(message.request);
      if (!entry || entry.node !== node || entry.type !== message.type) return false;
      clearTimeout(entry.timer);
      waiting.delete(message.request);
      entry.resolve(message);
      return true;
    },
    close() {
      for (const { timer, reject } of waiting.values()) {
        clearTimeout(timer);
        reject(new ClbError('StoreUnavailable'));
      }
      waiting.clear();
    },
  };
}

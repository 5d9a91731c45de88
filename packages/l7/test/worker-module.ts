// What the workers of `workers.test.ts` load: a filter that says which worker answered, and one that makes its event loop stand still.
import { threadId } from 'node:worker_threads';
import type { L7Filter } from '@openclb/model';

export function setup(): { filters: L7Filter[] } {
  const name: L7Filter = {
    name: 'worker-name',
    request: (request) => {
      const block = request.headers.find(([field]) => field.toLowerCase() === 'x-block');
      if (block !== undefined) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(block[1]));
      if (request.headers.some(([field]) => field.toLowerCase() === 'x-throw')) {
        setImmediate(() => {
          throw new Error('a bug in a worker');
        });
      }
      return undefined;
    },
    response: (response) => {
      response.headers.push(['x-worker', String(threadId)]);
    },
  };
  return { filters: [name] };
}

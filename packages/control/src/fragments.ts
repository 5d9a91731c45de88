// The last good fragment of every load balancer, kept in the store beside the desired state, so that it outlives the controller (B3).
import { canonicalJson } from '@openclb/model';
import type { Fragment } from './compile/parts.ts';
import { FRAGMENTS, KEY } from './desired/keys.ts';
import type { Operation, Store } from './desired/store.ts';

export interface FragmentStore {
  readonly kept: ReadonlyMap<string, Fragment>;
  /** Writes those that changed, later and in batches: losing the last write only means keeping an older good one. */
  save(fresh: ReadonlyMap<string, Fragment>): void;
  /** Forgets load balancers that do not exist any more. */
  close(): Promise<void>;
}

const BATCH_MAX = 100;
const SAVE_AFTER_MS = 200;

export async function openFragments(
  store: Store,
  exists: (id: string) => boolean,
  log: (message: string) => void,
): Promise<FragmentStore> {
  const kept = new Map<string, Fragment>();
  const texts = new Map<string, string>();
  for (const { key, value } of (await store.list(FRAGMENTS)).entries) {
    const id = key.slice(FRAGMENTS.length);
    texts.set(id, value);
    kept.set(id, JSON.parse(value) as Fragment);
  }
  let pending = new Map<string, Fragment>();
  let timer: NodeJS.Timeout | undefined;
  let writing = Promise.resolve();

  const write = async (): Promise<void> => {
    timer = undefined;
    const operations: Operation[] = [];
    for (const [id, fragment] of pending) {
      const text = canonicalJson(fragment);
      if (texts.get(id) === text) continue;
      texts.set(id, text);
      operations.push({ type: 'put', key: KEY.fragment(id), value: text });
    }
    pending = new Map();
    for (const id of texts.keys()) {
      if (exists(id)) continue;
      texts.delete(id);
      kept.delete(id);
      operations.push({ type: 'delete', key: KEY.fragment(id) });
    }
    while (operations.length > 0) await store.commit([], operations.splice(0, BATCH_MAX));
  };
  const flush = (): Promise<void> =>
    (writing = writing.then(write).catch((error: unknown) => log(`fragments were not kept: ${String(error)}`)));

  return {
    kept,
    save(fresh) {
      for (const [id, fragment] of fresh) {
        kept.set(id, fragment);
        pending.set(id, fragment);
      }
      timer ??= setTimeout(() => void flush(), SAVE_AFTER_MS);
    },
    async close() {
      clearTimeout(timer);
      await flush();
    },
  };
}

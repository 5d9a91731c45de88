// What every store must do (desired/store.ts). An implementation passes a function that opens an empty one.
import { afterEach, describe, expect, test } from 'vitest';
import type { Store, StoreEvent } from '../src/desired/store.ts';

export interface StoreUnderTest {
  readonly store: Store;
  /** Moves the store's clock. */
  readonly advanceMs: (ms: number) => void;
}

/** History that the store under test keeps. */
export const HISTORY_REVISIONS = 200;

const put = (key: string, value: string, lease?: number) => ({
  type: 'put' as const,
  key,
  value,
  ...(lease === undefined ? {} : { lease }),
});
const remove = (key: string) => ({ type: 'delete' as const, key });
const until = async (holds: () => boolean): Promise<void> => {
  for (let attempt = 0; attempt < 200 && !holds(); attempt++) await new Promise((resolve) => setTimeout(resolve, 10));
};

export function describeStore(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`${name} as a store`, () => {
    const opened: Store[] = [];
    const fresh = async (): Promise<StoreUnderTest> => {
      const made = await open();
      opened.push(made.store);
      return made;
    };
    afterEach(async () => {
      for (const store of opened.splice(0)) await store.close();
    });

    test('a transaction writes all its keys at one revision', async () => {
      const { store } = await fresh();
      const revision = await store.commit([], [put('d/a', '1'), put('d/b', '2')]);
      const { entries } = await store.list('d/');
      expect(entries.map((entry) => ({ ...entry }))).toEqual([
        { key: 'd/a', value: '1', revision },
        { key: 'd/b', value: '2', revision },
      ]);
      expect(await store.revision()).toBe(revision);
    });

    test('a failed comparison writes nothing at all', async () => {
      const { store } = await fresh();
      const first = await store.commit([{ key: 'd/a', revision: 0 }], [put('d/a', '1')]);
      expect(await store.commit([{ key: 'd/a', revision: 0 }], [put('d/a', '2'), put('d/b', '2')])).toBeNull();
      expect((await store.get('d/a'))?.value).toBe('1');
      expect(await store.get('d/b')).toBeUndefined();
      expect(await store.commit([{ key: 'd/a', revision: first ?? -1 }], [put('d/a', '3')])).toBe((first ?? 0) + 1);
    });

    test('a deleted key compares as absent', async () => {
      const { store } = await fresh();
      await store.commit([], [put('d/a', '1')]);
      await store.commit([], [remove('d/a')]);
      expect(await store.commit([{ key: 'd/a', revision: 0 }], [put('d/a', '2')])).not.toBeNull();
    });

    test('a list is sorted, exact about its prefix, and of one revision', async () => {
      const { store } = await fresh();
      await store.commit(
        [],
        ['d/b', 'd/a', 'd/a/x', 'da', 'e/a'].map((key) => put(key, key)),
      );
      const { entries, revision } = await store.list('d/');
      expect(entries.map(({ key }) => key)).toEqual(['d/a', 'd/a/x', 'd/b']);
      expect(revision).toBe(await store.revision());
    });

    test('a watch sees past and future events under its prefix, in order, deletions included', async () => {
      const { store } = await fresh();
      const start = await store.revision();
      await store.commit([], [put('d/a', '1'), put('x', '1')]);
      const seen: string[] = [];
      const watch = store.watch('d/', start, {
        onEvents: (events: readonly StoreEvent[], revision) =>
          seen.push(...events.map(({ key, value }) => `${revision - start}:${key}=${value}`)),
        onCompacted: () => seen.push('compacted'),
      });
      await store.commit([], [put('x', '2')]);
      await store.commit([], [put('d/b', '2'), remove('d/a')]);
      await until(() => seen.length >= 3);
      expect(seen).toEqual(['1:d/a=1', '3:d/b=2', '3:d/a=null']);
      watch.close();
      await store.commit([], [put('d/c', '3')]);
      expect(seen).toHaveLength(3);
    });

    test('a watch from before the kept history is told to read everything again', async () => {
      const { store } = await fresh();
      const start = await store.revision();
      for (let count = 0; count < 2 * HISTORY_REVISIONS; count++) await store.commit([], [put('d/a', String(count))]);
      let isCompacted = false;
      store.watch('d/', start, { onEvents: () => {}, onCompacted: () => (isCompacted = true) });
      await until(() => isCompacted);
      expect(isCompacted).toBe(true);
    });

    test('keys of a lease vanish together when nobody renews it', async () => {
      const { store, advanceMs } = await fresh();
      const lease = await store.grantLease(1_000);
      await store.commit([], [put('l/a', '1', lease), put('l/b', '1', lease), put('l/c', '1')]);
      advanceMs(900);
      expect(await store.renewLease(lease)).toBe(true);
      advanceMs(900);
      expect(await store.get('l/a')).toBeDefined();
      advanceMs(200);
      let isGone = false;
      for (let attempt = 0; attempt < 100 && !isGone; attempt++) {
        isGone = (await store.get('l/a')) === undefined;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      expect((await store.list('l/')).entries.map(({ key }) => key)).toEqual(['l/c']);
      expect(await store.renewLease(lease)).toBe(false);
    });

    test('a revoked lease takes its keys along at once', async () => {
      const { store } = await fresh();
      const lease = await store.grantLease(60_000);
      await store.commit([], [put('l/a', '1', lease)]);
      await store.revokeLease(lease);
      expect(await store.get('l/a')).toBeUndefined();
    });

    test('keys that are not plain ASCII and values beyond the limit are refused', async () => {
      const { store } = await fresh();
      await expect(store.commit([], [put('d/ü', '1')])).rejects.toThrow(/not a store key/);
      await expect(store.commit([], [put('d/a', 'x'.repeat(1_500_001))])).rejects.toThrow(/over 1500000/);
    });
  });
}

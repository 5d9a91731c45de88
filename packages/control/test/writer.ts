// A process that commits for ever and prints each revision only once the store has answered. The test kills it at a random moment.
import { writeSync } from 'node:fs';
import { openSqliteStore } from '../src/desired/sqlite.ts';

const [path = '', name = ''] = process.argv.slice(2);
const store = openSqliteStore({ path, nowMs: Date.now });
for (let count = 0; ; count++) {
  const key = `d/${name}/${count}`;
  const revision = await store.commit(
    [],
    [
      { type: 'put', key, value: String(count) },
      { type: 'put', key: `${key}/twin`, value: String(count) },
    ],
  );
  writeSync(1, `${revision} ${key}\n`);
}

// The controller as a library: `createController()` gives a Fastify app; compile is usable on its own.
export { createController } from './app.ts';
export {
  type ControllerOptions,
  DEFAULT_POOLS,
  DEFAULTS,
  type PoolOptions,
  type ApiKey,
  resolvePools,
} from './options.ts';
export { compile, type Compiled, COMPILER_VERSION, type CompileOptions } from './compile/index.ts';
export { stableId } from './compile/stable-id.ts';
export type { Compare, Entry, Operation, Store, StoreEvent, WatchHandlers } from './desired/store.ts';
export { openSqliteStore } from './desired/sqlite.ts';

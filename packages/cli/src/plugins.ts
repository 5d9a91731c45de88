// Plugins by path or package name: each has a plugin (definePlugin of @openclb/model) as its default export.
import { createPluginHost, type Plugin, type PluginHost } from '@openclb/model';
import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { dirname, isAbsolute, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { sentenceOf, usageError } from './errors.ts';
import type { Log } from './log.ts';
import { importModule } from './module.ts';

export async function loadPlugins(names: readonly string[], log: Log): Promise<PluginHost> {
  const plugins: Plugin[] = [];
  for (const name of names) plugins.push(await loadPlugin(name));
  return createPluginHost(plugins, {
    onError: (plugin, error) =>
      log.error({ plugin, reason: sentenceOf(error) }, 'a plugin failed; going on without it'),
  });
}

async function loadPlugin(name: string): Promise<Plugin> {
  const isPath = name.startsWith('.') || isAbsolute(name);
  const target = isPath ? pathToFileURL(resolve(name)).href : packageUrl(name);
  const plugin = (await importModule(target, name)) as Partial<Plugin> | null | undefined;
  if (typeof plugin?.name === 'string' && typeof plugin.setup === 'function') return plugin as Plugin;
  throw usageError(`${name} is no plugin`, 'its default export must be what definePlugin of @openclb/model returns');
}

/** Packages are found from where clb was started, not from where it is installed. */
function packageUrl(name: string): string {
  try {
    const path = findPackageJSON(name, pathToFileURL(resolve('noop.js')));
    if (path === undefined) throw new Error('no package of that name');
    const { exports, main } = JSON.parse(readFileSync(path, 'utf8')) as { exports?: unknown; main?: string };
    return pathToFileURL(resolve(dirname(path), entryOf(exports) ?? main ?? 'index.js')).href;
  } catch (error) {
    throw usageError(
      `cannot find the plugin ${name}: ${sentenceOf(error)}`,
      'install it here, or write a path as ./plugin.ts',
    );
  }
}

/** The module behind `exports`, by the conditions that Node uses for import. */
function entryOf(exports: unknown): string | undefined {
  if (typeof exports === 'string') return exports;
  if (typeof exports !== 'object' || exports === null) return undefined;
  const conditions = exports as Record<string, unknown>;
  for (const key of ['.', 'node', 'import', 'default']) {
    const entry = key in conditions ? entryOf(conditions[key]) : undefined;
    if (entry !== undefined) return entry;
  }
  return undefined;
}

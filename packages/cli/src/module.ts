// Users' own modules: TypeScript through tsx, which takes all of the language; everything else by Node itself.
import { sentenceOf, usageError } from './errors.ts';

/** The default export of a module. `name` is what the user called it. */
export async function importModule(url: string, name: string): Promise<unknown> {
  let module: { default?: unknown };
  try {
    if (/\.[cm]?ts(\?|$)/.test(url)) {
      const { tsImport } = await import('tsx/esm/api');
      module = (await tsImport(url, import.meta.url)) as { default?: unknown };
    } else {
      module = (await import(url)) as { default?: unknown };
    }
  } catch (error) {
    throw usageError(`cannot load ${name}: ${sentenceOf(error)}`, 'it must be a module with a default export');
  }
  // Modules without "type": "module" come wrapped once more.
  const exported = module.default;
  return typeof exported === 'object' && exported !== null && 'default' in exported ? exported.default : exported;
}

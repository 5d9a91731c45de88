// Watches one file for new content, whatever way an editor writes it: in place, or as another file renamed over it.
import { watch as watchFolder } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';

/** Editors write in several steps; the content is read when they have been quiet for this long. */
const QUIET_MS = 80;
/** Network file systems and some containers send no events, so the file is also looked at. */
const LOOK_MS = 1_000;

/** Calls `onChange` after the file changed; the next call waits for the last one to end. */
export function watchFile(path: string, onChange: () => Promise<void>): { close(): Promise<void> } {
  const file = resolve(path);
  let seen = '';
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();
  let closed = false;

  const stamp = async (): Promise<string> => {
    try {
      const { mtimeMs, size, ino } = await stat(file);
      return `${mtimeMs} ${size} ${ino}`;
    } catch {
      return seen;
    }
  };
  const look = async (): Promise<void> => {
    const now = await stamp();
    if (closed || now === seen) return;
    const isFirst = seen === '';
    seen = now;
    if (!isFirst) await onChange();
  };
  const soon = (): void => {
    clearTimeout(timer);
    if (closed) return;
    timer = setTimeout(() => (running = running.then(look)), QUIET_MS);
  };
  running = look();
  // The folder, because a rename replaces the file that a watch would hold on to.
  const watcher = watchFolder(dirname(file), { persistent: false }, (_event, name) => {
    if (name === null || name === basename(file)) soon();
  });
  watcher.on('error', () => watcher.close());
  const looking = setInterval(soon, LOOK_MS);
  return {
    async close() {
      closed = true;
      clearTimeout(timer);
      clearInterval(looking);
      watcher.close();
      await running;
    },
  };
}

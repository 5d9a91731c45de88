// Where namespaces cannot be made (macOS, locked-down containers): why, and then the relay and layer-7 part on loopback through `clb up`.
import type { Teller } from './tell.ts';

export async function tellOnLoopback(tell: Teller, why: string): Promise<void> {
  tell.note(`no namespaces: ${why}`);
  await Promise.resolve();
}

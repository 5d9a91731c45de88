// The shortest time-out that any rule has, which says how fine the wheel must turn: a limit of 100 ms kept by a clock of half seconds
// would be none.
import type { CompiledImage } from '../image.ts';

/** Milliseconds; Infinity where no rule has a time-out of its own. */
export function shortestMs(image: CompiledImage): number {
  let shortest = Infinity;
  for (const { routes } of image.listeners) {
    for (const rule of routes.rules) {
      for (const { policy } of [rule, ...rule.variants]) {
        const upstream = policy?.upstream;
        if (upstream === undefined || upstream === null) continue;
        const { connectMs, firstByteMs, readMs, sendMs, tunnelIdleMs } = upstream.times;
        const perTryMs = upstream.retry?.perTryMs ?? 0;
        for (const ms of [connectMs, firstByteMs, readMs, sendMs, tunnelIdleMs]) {
          if (ms !== undefined) shortest = Math.min(shortest, ms);
        }
        if (perTryMs > 0) shortest = Math.min(shortest, perTryMs);
      }
    }
  }
  return shortest;
}

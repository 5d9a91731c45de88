// Looks at the pulse of a packet worker (data-plane.md P2): three missed beats of 100 ms and the director withdraws everything it announces,
// because routing daemons live on when only the data path is dead. When the pulse is back it announces again.

export const BEAT_MS = 100;
export const BEATS_MISSED_MAX = 3;

export interface Watchdog {
  readonly isAlive: boolean;
  close(): void;
}

export function watchPulse(pulse: () => number, onChange: (isAlive: boolean) => void, beatMs = BEAT_MS): Watchdog {
  let last = pulse();
  let missed = 0;
  let isAlive = true;
  const timer = setInterval(() => {
    const now = pulse();
    missed = now === last ? missed + 1 : 0;
    last = now;
    const next = missed < BEATS_MISSED_MAX;
    if (next === isAlive) return;
    isAlive = next;
    onChange(isAlive);
  }, beatMs);
  return {
    get isAlive() {
      return isAlive;
    },
    close: () => clearInterval(timer),
  };
}

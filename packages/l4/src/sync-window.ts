// What one stream of sync datagrams has brought so far (data-plane.md P9): each sequence number once, in any order within a window, and
// which ones are missing. A sender that has started anew begins anew; what was recorded before that start is refused for ever.

/** Numbers that may still come after a higher one. */
export const WINDOW = 1024;
/** Clocks of directors may differ by this much, as SYN cookies demand as well; older datagrams are recordings. */
export const SKEW_MS_MAX = 60_000;

export type WindowRefusal = 'stale' | 'replayed';

export class SyncWindow {
  private epoch = 0;
  private highest = 0;
  private readonly seen = new Uint8Array(WINDOW);
  private missingSince = 0;
  private missing = 0;

  /** Null when the datagram is to be used. Times are Unix milliseconds. */
  accept(epoch: number, sequence: number, sentMs: number, nowMs: number): WindowRefusal | null {
    if (Math.abs(nowMs - sentMs) > SKEW_MS_MAX || epoch < this.epoch) return 'stale';
    if (epoch > this.epoch) this.begin(epoch, sequence);
    else if (sequence > this.highest) this.advance(sequence, nowMs);
    else if (sequence + WINDOW <= this.highest || this.seen[sequence % WINDOW] === 1) return 'replayed';
    else this.missing = Math.max(0, this.missing - 1);
    this.seen[sequence % WINDOW] = 1;
    return null;
  }

  /** True once, when numbers have been missing for so long that they are lost. */
  takeGap(nowMs: number, patienceMs: number): boolean {
    if (this.missing === 0 || nowMs - this.missingSince < patienceMs) return false;
    this.missing = 0;
    return true;
  }

  private begin(epoch: number, sequence: number): void {
    this.epoch = epoch;
    this.highest = sequence;
    // What was sent before we came is no gap, and nobody sends it again.
    this.seen.fill(1);
    this.missing = 0;
  }

  private advance(sequence: number, nowMs: number): void {
    const skipped = sequence - this.highest - 1;
    for (let number = Math.max(this.highest + 1, sequence - WINDOW + 1); number < sequence; number++)
      this.seen[number % WINDOW] = 0;
    if (skipped > 0) {
      if (this.missing === 0) this.missingSince = nowMs;
      this.missing += skipped;
    }
    this.highest = sequence;
  }
}

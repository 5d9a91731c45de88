// A coarse timer wheel: setting a deadline is one field write, so the hot path starts and stops no timer (layer7.md 4).

const SLOTS = 128;

export interface Timed {
  /** When to fire, in `Wheel.now` milliseconds; Infinity: never. */
  deadline: number;
  /** Owned by the wheel: the tick whose slot holds this item, or −1. */
  wheelTick: number;
  onDeadline(): void;
  /** A finished item is forgotten when its slot comes round. */
  readonly isClosed: boolean;
}

export class Wheel {
  tickMs: number;
  /** Milliseconds of the monotonic clock at the last tick: cheap to read, late by one tick at most. */
  now: number;
  #tick = 0;
  readonly #slots: Timed[][] = Array.from({ length: SLOTS }, () => []);
  #timer: NodeJS.Timeout;

  constructor(tickMs: number) {
    this.tickMs = tickMs;
    this.now = performance.now();
    this.#timer = setInterval(() => this.#advance(), tickMs);
    this.#timer.unref();
  }

  /** Another length of tick from now on. Items come round at another time than they were put down for, and are then put down anew. */
  retune(tickMs: number): void {
    if (tickMs === this.tickMs) return;
    clearInterval(this.#timer);
    this.tickMs = tickMs;
    this.#timer = setInterval(() => this.#advance(), tickMs);
    this.#timer.unref();
  }

  /** Fires at or up to two ticks after `ms` from now, unless set again before. */
  set(item: Timed, ms: number): void {
    item.deadline = this.now + ms;
    const due = this.#tick + Math.min(SLOTS - 1, Math.ceil(ms / this.tickMs) + 1);
    // An item that waits in an earlier slot is moved on when that slot comes round; only an earlier deadline needs a new place.
    if (item.wheelTick >= 0 && item.wheelTick <= due) return;
    item.wheelTick = due;
    this.#slots[due % SLOTS]!.push(item);
  }

  clear(item: Timed): void {
    item.deadline = Infinity;
  }

  close(): void {
    clearInterval(this.#timer);
    for (const slot of this.#slots) slot.length = 0;
  }

  #advance(): void {
    this.now = performance.now();
    this.#tick++;
    const index = this.#tick % SLOTS;
    const due = this.#slots[index]!;
    if (due.length === 0) return;
    this.#slots[index] = [];
    for (const item of due) {
      if (item.wheelTick !== this.#tick) continue;
      item.wheelTick = -1;
      if (item.isClosed) continue;
      if (item.deadline <= this.now) item.onDeadline();
      else if (item.deadline !== Infinity) this.set(item, item.deadline - this.now);
    }
  }
}

// The virtual clock of the simulation: events in order of time, and of their making where times are equal. Nothing here reads a real clock.

type Work = () => void | Promise<void>;

interface Event {
  readonly atMs: number;
  readonly number: number;
  readonly work: Work;
}

/** Continuations of promises that a finished timer leaves behind are let run before the next event; this many turns suffice. */
const MICROTASK_TURNS = 12;

export class VirtualClock {
  nowMs = 0;
  /** Events that have run. */
  events = 0;
  private readonly heap: Event[] = [];
  private made = 0;
  /** The data path's clock is a u32 that wraps; histories begin where the seed says. */
  private readonly startMs: number;

  constructor(startMs: number) {
    this.startMs = startMs;
  }

  /** Milliseconds of the data path. */
  readonly ticks = (): number => Math.floor(this.startMs + this.nowMs) >>> 0;
  readonly unixMs = (): number => 1_800_000_000_000 + Math.floor(this.nowMs);

  /** A promise that `work` gives back is awaited before time goes on. */
  after(ms: number, work: Work): void {
    this.push({ atMs: this.nowMs + ms, number: this.made++, work });
  }

  readonly every = (ms: number, turn: () => void): (() => void) => {
    let isOver = false;
    const again = (): void => {
      if (isOver) return;
      turn();
      this.after(ms, again);
    };
    this.after(ms, again);
    return () => {
      isOver = true;
    };
  };

  readonly sleep = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      this.after(ms, async () => {
        resolve();
        for (let turn = 0; turn < MICROTASK_TURNS; turn++) await Promise.resolve();
      });
    });

  /** Runs everything that is due up to a time; `check` after each event. */
  async run(untilMs: number, check: () => void): Promise<void> {
    for (let next = this.heap[0]; next !== undefined && next.atMs <= untilMs; next = this.heap[0]) {
      this.pop();
      this.nowMs = next.atMs;
      this.events++;
      const pending = next.work();
      if (pending !== undefined) await pending;
      check();
    }
    this.nowMs = untilMs;
  }

  private push(event: Event): void {
    const { heap } = this;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  private pop(): void {
    const { heap } = this;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

const isBefore = (a: Event, b: Event): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.number < b.number);

// Small writes leave together at the end of the event loop's turn, after all that was readable has been read: the kernel wakes
// each peer once for many messages instead of once for each, and pipelined answers leave in one system call.

/** More than this is not kept back. */
export const KEPT_BACK_CHARS_MAX = 12 * 1024;

/** Something with text to send. */
export interface Sender {
  flush(): void;
}

export class Outbox {
  readonly #waiting: Sender[] = [];
  /** Entries of `#waiting` that count; the array keeps its length, because setting it costs more than all the rest here. */
  #count = 0;
  readonly #flush = (): void => {
    const count = this.#count;
    this.#count = 0;
    for (let index = 0; index < count; index++) this.#waiting[index]!.flush();
  };

  /** `sender.flush` is called in this turn's check phase, which comes before the next wait for events. */
  add(sender: Sender): void {
    if (this.#count === 0) setImmediate(this.#flush);
    this.#waiting[this.#count++] = sender;
  }
}

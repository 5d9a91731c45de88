// Addresses of a memory plan, one after the other.

/** Hands out addresses; `taken` may pass 4 GiB, the planner looks at the end. */
export class Space {
  taken: number;
  constructor(from: number) {
    this.taken = from;
  }
  take(bytes: number, align = 64): number {
    const at = Math.ceil(this.taken / align) * align;
    this.taken = at + bytes;
    return at;
  }
}

export const powerOfTwo = (least: number): number => 2 ** Math.ceil(Math.log2(Math.max(2, least)));

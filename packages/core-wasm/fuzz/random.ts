// A small seeded generator (sfc32): a campaign replays exactly from its seed.

export class Random {
  private a: number;
  private b: number;
  private c: number;
  private count = 1;

  constructor(seed: number, stream = 0) {
    this.a = seed | 0;
    this.b = stream | 0;
    this.c = 0x9e3779b9 | 0;
    for (let round = 0; round < 12; round++) this.next();
  }

  /** 32 random bits, unsigned. */
  next(): number {
    const sum = (this.a + this.b + this.count++) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** A whole number from 0 on, below `end`. */
  below(end: number): number {
    return this.next() % end;
  }

  /** True once in `times`. */
  once(times: number): boolean {
    return this.next() % times === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.next() % list.length] as T;
  }
}

// The last answers of a rule by how long their first byte took, for hedging by percentile.

const SAMPLES = 256;
/** Fewer say nothing. */
const SAMPLES_MIN = 32;
const REFRESH_EVERY = 32;

export class Latencies {
  readonly #samples = new Float64Array(SAMPLES);
  #count = 0;
  #cached = 0;
  #cachedFor = -1;
  #cachedAt = 0;

  note(ms: number): void {
    this.#samples[this.#count++ % SAMPLES] = ms;
  }

  /** Milliseconds within which `percent` of recent answers began; null while too few are known. */
  percentile(percent: number): number | null {
    if (this.#count < SAMPLES_MIN) return null;
    if (this.#cachedFor === percent && this.#count - this.#cachedAt < REFRESH_EVERY) return this.#cached;
    const sorted = this.#samples.slice(0, Math.min(this.#count, SAMPLES)).sort();
    this.#cached = sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))]!;
    this.#cachedFor = percent;
    this.#cachedAt = this.#count;
    return this.#cached;
  }
}

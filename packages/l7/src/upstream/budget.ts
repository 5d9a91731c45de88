// How many second tries may run (retries and hedges): a share of the requests in flight, and some a second whatever the share says.
// Without it, the hour in which every target is slow is the hour in which each gets several times its traffic.

export class Budget {
  #percent = 0;
  #perSecond = 0;
  #tokens = 0;
  #at = 0;
  /** Requests in flight, and those of them that were tried again. */
  active = 0;
  extra = 0;

  set(percent: number, perSecond: number): this {
    if (perSecond !== this.#perSecond) this.#tokens = perSecond;
    this.#percent = percent;
    this.#perSecond = perSecond;
    return this;
  }

  /** Takes the right to one more try, which `extra` counts until the request ends. `now` in milliseconds. */
  take(now: number): boolean {
    const isWithinShare = (this.extra + 1) * 100 <= this.active * this.#percent;
    if (!isWithinShare && !this.#takeToken(now)) return false;
    this.extra++;
    return true;
  }

  #takeToken(now: number): boolean {
    this.#tokens = Math.min(this.#perSecond, this.#tokens + ((now - this.#at) / 1000) * this.#perSecond);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}

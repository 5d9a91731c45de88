// The clock of the data path: milliseconds that are the same on every thread of the process, as a u32 that wraps.
// Only differences mean something: `(now - before) >>> 0`.

export function clock(): number {
  return (performance.timeOrigin + performance.now()) >>> 0;
}

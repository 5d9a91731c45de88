// What a bench gives back: rows of one table. Nothing runs when this is imported.

export interface Row {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  /** value ÷ the peer's value in the same run; absent where there is no peer. */
  readonly ratio?: number;
  readonly peer?: string;
  readonly note?: string;
}

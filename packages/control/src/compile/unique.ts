// Rows by id: the first of equals wins (fresh fragments come before kept ones), and order is by id, so that images are deterministic.

export function unique<T extends { readonly id: string }>(rows: readonly T[]): T[] {
  const byId = new Map<string, T>();
  for (const row of rows) if (!byId.has(row.id)) byId.set(row.id, row);
  return [...byId.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Distinct values in a fixed order, told apart by their text. */
export function uniqueBy<T>(values: readonly T[], text: (value: T) => string): T[] {
  const byText = new Map(values.map((value) => [text(value), value] as const));
  return [...byText].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);
}

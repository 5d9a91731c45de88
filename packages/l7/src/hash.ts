// Hashing for layer-7 schedulers: a client's address to 32 bits, and Maglev tables (Eisenbud et al. 2016; data-plane.md P12).

/** FNV-1a with a final mix, so that addresses that differ in the last digit fall far apart. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

export interface MaglevMember {
  readonly id: string;
  readonly weight: number;
}

/** Indexes into `members`, `slots` (a prime) of them, in proportion to weight. Members of weight 0 get none. */
export function maglevTable(members: readonly MaglevMember[], slots: number): Int32Array {
  const table = new Int32Array(slots).fill(-1);
  const rows = members.flatMap(({ id, weight }, index) =>
    weight === 0
      ? []
      : [
          {
            index,
            weight,
            at: hashText(`offset ${id}`) % slots,
            skip: (hashText(`skip ${id}`) % (slots - 1)) + 1,
            due: 0,
          },
        ],
  );
  const heaviest = Math.max(1, ...rows.map((row) => row.weight));
  for (let filled = 0; rows.length > 0;) {
    for (const row of rows) {
      // A turn is worth weight ÷ heaviest of a slot.
      row.due += row.weight;
      if (row.due < heaviest) continue;
      row.due -= heaviest;
      while (table[row.at]! >= 0) row.at = (row.at + row.skip) % slots;
      table[row.at] = row.index;
      if (++filled === slots) return table;
    }
  }
  return table;
}

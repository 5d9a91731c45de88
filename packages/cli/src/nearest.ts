// The known word that was probably meant: optimal string alignment distance (edits and swaps of neighbours).

const LONGEST_WORD = 64;

/** The known word nearest to `word`, or undefined when none is near enough to be worth suggesting. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const wanted = word.slice(0, LONGEST_WORD).toLowerCase();
  // A third of the letters may be wrong; a short word may have one wrong letter.
  let best = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  let found: string | undefined;
  for (const candidate of known) {
    const name = candidate.toLowerCase();
    const isAbbreviation = wanted.length >= 3 && (name.startsWith(wanted) || wanted.startsWith(name));
    const distance = isAbbreviation ? 1 : distanceOf(wanted, name);
    if (distance < best) {
      best = distance;
      found = candidate;
    }
  }
  return found;
}

/** ' Did you mean …?' or nothing. */
export function didYouMean(word: string, known: readonly string[], format: (name: string) => string = quoted): string {
  const name = nearest(word, known);
  return name === undefined ? '' : `; did you mean ${format(name)}?`;
}

function quoted(name: string): string {
  return `'${name}'`;
}

function distanceOf(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const isSame = a[row - 1] === b[column - 1];
      let cost = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (isSame ? 0 : 1),
      );
      const isSwap = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (isSwap) cost = Math.min(cost, (beforeLast[column - 2] ?? 0) + 1);
      current.push(cost);
    }
    beforeLast = last;
    last = current;
  }
  return last[b.length] ?? 0;
}

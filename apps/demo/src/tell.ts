// Tells the story: a step has a title and claims; a claim is printed with its proof and counted, so the exit status can be trusted.

export interface Claim {
  step: string;
  text: string;
  held: boolean;
  proof: string;
}

export interface Teller {
  claims: Claim[];
  step(title: string): void;
  /** A statement about the product that was just tried, whether it held, and how that was seen. */
  claim(text: string, held: boolean, proof: string): boolean;
  note(text: string): void;
}

export function createTeller(write: (line: string) => void, isJson = false): Teller {
  const claims: Claim[] = [];
  let step = '';
  const json = (event: object): void => write(JSON.stringify(event));
  return {
    claims,
    step(title) {
      step = title;
      if (isJson) json({ event: 'step', title });
      else write(`\n${title}`);
    },
    claim(text, held, proof) {
      claims.push({ step, text, held, proof });
      if (isJson) json({ event: 'claim', step, text, held, proof });
      else write(`  ${held ? '✓' : '✗'} ${text}\n      ${proof}`);
      return held;
    },
    note(text) {
      if (isJson) json({ event: 'note', step, text });
      else write(`  · ${text}`);
    },
  };
}

/** Throws with every claim of the teller that did not hold; tests end with it. */
export function assertAllHeld(teller: Teller): void {
  const broken = teller.claims.filter(({ held }) => !held);
  if (broken.length > 0) throw new Error(broken.map(({ text, proof }) => `${text}: ${proof}`).join('\n'));
  if (teller.claims.length === 0) throw new Error('the step claimed nothing');
}

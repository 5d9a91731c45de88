// How an enumeration is described, once: constants for AssemblyScript and a reference table are generated from it, TypeScript infers the values.

export type Members = Readonly<Record<string, readonly [value: number, meaning: string]>>;

export interface Enumeration<M extends Members = Members> {
  readonly name: string;
  readonly meaning: string;
  readonly members: M;
}

export type Values<M extends Members> = { readonly [K in keyof M]: M[K][0] };

/** Throws when two members share a number, so a bad edit stops the generator. */
export function enumeration<const M extends Members>(name: string, meaning: string, members: M): Enumeration<M> {
  const seen = new Set<number>();
  for (const [member, [value]] of Object.entries(members)) {
    if (seen.has(value)) throw new Error(`${name}.${member} repeats the number ${value}`);
    seen.add(value);
  }
  return { name, meaning, members };
}

export function valuesOf<M extends Members>(definition: Enumeration<M>): Values<M> {
  return Object.fromEntries(Object.entries(definition.members).map(([name, [value]]) => [name, value])) as Values<M>;
}

/** Name of a value, for people; the number itself when it is unknown. */
export function nameOf(definition: Enumeration, value: number): string {
  for (const [name, [number]] of Object.entries(definition.members)) if (number === value) return name;
  return String(value);
}

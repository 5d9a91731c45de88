// How a record in linear memory is described, once: AssemblyScript classes are generated from it, TypeScript infers offsets from it.
// Plain data and no imports, so Node runs it directly and oxlint can hold the folder to "imports nothing outside layout/".

/** Field types: width in bytes is the digit part; `bytes16` is an IPv6 (or IPv4-mapped) address, `bytes6` a MAC address. */
export type FieldType = 'u8' | 'u16' | 'u32' | 'u64' | 'i32' | 'bytes6' | 'bytes16';

/** A field is [type, meaning]; `meaning` goes to the reference page and into the generated doc comment. */
export type Field = readonly [type: FieldType, meaning: string];

export interface RecordDefinition<F extends Record<string, Field> = Record<string, Field>> {
  readonly name: string;
  readonly meaning: string;
  /** Total size with tail padding; checked against the fields. */
  readonly bytes: number;
  readonly fields: F;
}

export const WIDTH: Readonly<Record<FieldType, number>> = {
  u8: 1,
  u16: 2,
  u32: 4,
  u64: 8,
  i32: 4,
  bytes6: 6,
  bytes16: 16,
};
const ALIGN: Readonly<Record<FieldType, number>> = { u8: 1, u16: 2, u32: 4, u64: 8, i32: 4, bytes6: 2, bytes16: 8 };

export type Offsets<F> = { readonly [K in keyof F]: number };

/** A record and its field offsets. Fields must be written in an order that needs no hidden padding. */
export interface Layout<F extends Record<string, Field>> extends RecordDefinition<F> {
  readonly at: Offsets<F>;
}

/** Computes offsets; throws when a field would be misaligned or the size is wrong, so a bad edit stops the generator. */
export function record<const F extends Record<string, Field>>(
  name: string,
  bytes: number,
  meaning: string,
  fields: F,
): Layout<F> {
  const at: Record<string, number> = {};
  let offset = 0;
  for (const [field, [type]] of Object.entries(fields)) {
    if (offset % ALIGN[type] !== 0) throw new Error(`${name}.${field} is misaligned at offset ${offset}`);
    at[field] = offset;
    offset += WIDTH[type];
  }
  if (offset > bytes) throw new Error(`${name} needs ${offset} bytes, its size says ${bytes}`);
  return { name, bytes, meaning, fields, at: at as Offsets<F> };
}

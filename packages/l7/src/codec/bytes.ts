// Character classes of RFC 9110/9112 as lookup tables, and comparisons on raw bytes.

const TCHAR = 1;
const TARGET = 2;
const VALUE = 4;
const HOST = 8;

const classes = new Uint8Array(256);
for (let byte = 0x21; byte < 0x7f; byte++) classes[byte]! |= VALUE | (byte === 0x23 ? 0 : TARGET);
for (let byte = 0x80; byte < 0x100; byte++) classes[byte]! |= VALUE;
classes[0x20]! |= VALUE;
classes[0x09]! |= VALUE;
for (const char of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
  classes[char.charCodeAt(0)]! |= TCHAR;
}
for (const char of "-._~!$&'()*+,;=%0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
  classes[char.charCodeAt(0)]! |= HOST;
}

export const CLASSES: Uint8Array = classes;
export const CharClass = { Tchar: TCHAR, Target: TARGET, Value: VALUE, Host: HOST } as const;

export const TAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;
export const COMMA = 0x2c;
export const COLON = 0x3a;

/** `literal` is lower case; the bytes may be of any case. `_` counts as `-`, because many servers fold it (see `Field.Spoof`). */
export function equalsFolded(bytes: Uint8Array, start: number, literal: Uint8Array): boolean {
  for (let index = 0; index < literal.length; index++) {
    let byte = bytes[start + index]!;
    if (byte >= 0x41 && byte <= 0x5a) byte |= 0x20;
    else if (byte === 0x5f) byte = 0x2d;
    if (byte !== literal[index]) return false;
  }
  return true;
}

/** Value of a hex digit, or −1. */
export function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

// Addresses as the tables hold them: 16 bytes in network order, IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). Text is RFC 5952 and older.

/** Text to 16 bytes; throws a RangeError that quotes the text. */
export function parseAddress(text: string): Uint8Array {
  const bytes = text.includes(':') ? parseV6(text) : parseV4(text);
  if (bytes === null) throw new RangeError(`"${text}" is not an IPv4 or IPv6 address`);
  return bytes;
}

/** 16 bytes to text: dotted when mapped, else RFC 5952. */
export function formatAddress(bytes: Uint8Array): string {
  if (isMapped(bytes)) return bytes.subarray(12, 16).join('.');
  const words = Array.from({ length: 8 }, (_, word) =>
    (((bytes[word * 2] ?? 0) << 8) | (bytes[word * 2 + 1] ?? 0)).toString(16),
  );
  const zeros = longestZeros(words);
  if (zeros.length < 2) return words.join(':');
  return `${words.slice(0, zeros.from).join(':')}::${words.slice(zeros.from + zeros.length).join(':')}`;
}

/** True for the 16-byte form of an IPv4 address, ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). */
export function isMapped(bytes: Uint8Array): boolean {
  return bytes[10] === 0xff && bytes[11] === 0xff && bytes.subarray(0, 10).every((byte) => byte === 0);
}

/** Prefix length in 128 bits of a length that is written for the address's own family. */
export function mappedLength(bytes: Uint8Array, length: number): number {
  return isMapped(bytes) ? length + 96 : length;
}

function parseV4(text: string): Uint8Array | null {
  const parts = text.split('.');
  if (parts.length !== 4 || parts.some((part) => !/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255)) return null;
  return Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...parts.map(Number));
}

function parseV6(text: string): Uint8Array | null {
  let rest = text;
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted !== null) {
    const v4 = parseV4(dotted[2] ?? '');
    if (v4 === null) return null;
    const word = (at: number): string => (((v4[at] ?? 0) << 8) | (v4[at + 1] ?? 0)).toString(16);
    rest = `${dotted[1]}${word(12)}:${word(14)}`;
  }
  const halves = rest.split('::');
  if (halves.length > 2) return null;
  const [head = [], tail = []] = halves.map((half) => (half === '' ? [] : half.split(':')));
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  const words = [...head, ...Array.from({ length: missing }, () => '0'), ...tail];
  if (words.some((word) => !/^[0-9a-fA-F]{1,4}$/.test(word))) return null;
  return Uint8Array.from(words.flatMap((word) => [Number.parseInt(word, 16) >> 8, Number.parseInt(word, 16) & 255]));
}

function longestZeros(words: readonly string[]): { from: number; length: number } {
  let best = { from: 0, length: 0 };
  for (let from = 0; from < words.length; from++) {
    let length = 0;
    while (words[from + length] === '0') length++;
    if (length > best.length) best = { from, length };
  }
  return best;
}

// Text to bytes and back: plain hexadecimal digits, and the dumps of xxd, hexdump -C, tcpdump -x and Wireshark.

/** An offset in front of a line: digits and a colon, or at least four digits and two spaces. */
const OFFSET = /^\s*(?:0x)?[0-9a-fA-F]{4,8}(?::|\s{2,}|\s(?=[0-9a-fA-F]{2}\s))\s*/;

/** Bytes of a dump. Throws an Error that names the first line that is none. */
export function parseHex(text: string): Uint8Array {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const isDump = lines.length > 0 && lines.every((line) => OFFSET.test(line));
  const digits = lines.map((line, number) => digitsOf(isDump ? line.replace(OFFSET, '') : line, number + 1)).join('');
  if (digits.length % 2 === 1) throw new Error('An odd number of hexadecimal digits: half a byte is missing');
  return Uint8Array.from({ length: digits.length / 2 }, (_, at) =>
    Number.parseInt(digits.slice(at * 2, at * 2 + 2), 16),
  );
}

function digitsOf(line: string, number: number): string {
  // Behind two spaces or a bar, dumps repeat the bytes as characters.
  const bytes = line.replace(/\s*\|.*\|\s*$/, '').replace(/\s{2,}(?![0-9a-fA-F]{2}(\s|[0-9a-fA-F])).*$/, '');
  const digits = bytes.replace(/0x|[\s:,-]/g, '');
  if (!/^[0-9a-fA-F]*$/.test(digits))
    throw new Error(`Line ${number} is no dump of bytes: ${line.trim().slice(0, 40)}`);
  return digits;
}

export function formatHex(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = Array.from(bytes.subarray(at, at + 16), (byte) => byte.toString(16).padStart(2, '0'));
    lines.push(row.join(' '));
  }
  return lines.join('\n');
}

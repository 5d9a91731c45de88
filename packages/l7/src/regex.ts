// Regexes that tenants write, in V8's linear engine: no pattern and no input can stall the worker (layer7.md 7).
// That engine knows no case folding, so folding is written into the pattern itself.
import { setFlagsFromString } from 'node:v8';

const ENGINE = '--enable-experimental-regexp-engine';
const LINEAR = 'l';
let isEnabled = false;

/** Throws a RangeError for what cannot run in linear time: back-references, look-around, large repetitions. */
export function linearRegex(source: string, isCaseFolded: boolean): RegExp {
  if (!isEnabled) {
    setFlagsFromString(ENGINE);
    isEnabled = true;
  }
  try {
    return new RegExp(isCaseFolded ? foldCase(source) : source, LINEAR);
  } catch (error) {
    throw new RangeError(`the pattern ${source} cannot be matched in linear time: ${(error as Error).message}`);
  }
}

/** `a` → `[aA]`, `[a-c]` → `[a-cA-C]`. Escapes and group syntax stay as they are. */
export function foldCase(source: string): string {
  let text = '';
  let isInClass = false;
  for (let at = 0; at < source.length; at++) {
    const char = source[at]!;
    if (char === '\\') {
      const escape = /^\\(?:x[\da-f]{2}|u[\da-f]{4}|c[a-z]|.)/is.exec(source.slice(at))?.[0] ?? char;
      text += escape;
      at += escape.length - 1;
    } else if (!isInClass && source.startsWith('(?', at)) {
      const group = /^\(\?(?:<[^>=!]*>|[^:)=!<]*[:)=!]|<[=!])/.exec(source.slice(at))?.[0] ?? '(?';
      text += group;
      at += group.length - 1;
    } else if (isInClass) {
      const range = /^([a-z]-[a-z]|[A-Z]-[A-Z])/.exec(source.slice(at))?.[0];
      text += range === undefined ? bothCases(char) : bothCases(range);
      if (range !== undefined) at += 2;
      else if (char === ']') isInClass = false;
    } else if (char === '[') {
      isInClass = true;
      text += char;
    } else text += isLetter(char) ? `[${bothCases(char)}]` : char;
  }
  return text;
}

function isLetter(char: string): boolean {
  return char.toLowerCase() !== char.toUpperCase() && char.charCodeAt(0) < 0x80;
}

function bothCases(text: string): string {
  return isLetter(text[0]!) ? text.toLowerCase() + text.toUpperCase() : text;
}

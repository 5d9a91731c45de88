// The part of nginx's configuration language that personalised configs are written in: directives that end with `;`, words, quotes
// and comments, each word with its place. Blocks are not part of it.

export interface Word {
  readonly text: string;
  readonly line: number;
  readonly column: number;
}

export interface Directive {
  readonly name: Word;
  readonly words: readonly Word[];
}

/** What is wrong, and where: both count from 1. */
export class SyntaxProblem extends Error {
  readonly line: number;
  readonly column: number;
  constructor(line: number, column: number, reason: string) {
    super(`line ${line}, column ${column}: ${reason}`);
    this.line = line;
    this.column = column;
  }
}

/** Throws `SyntaxProblem`. */
export function parseDirectives(text: string): Directive[] {
  const directives: Directive[] = [];
  let words: Word[] = [];
  for (const token of tokensOf(text)) {
    if (token.kind === 'word') {
      words.push(token);
      continue;
    }
    const [name, ...rest] = words;
    if (name === undefined) throw new SyntaxProblem(token.line, token.column, 'a ; without a directive before it');
    directives.push({ name, words: rest });
    words = [];
  }
  const [open] = words;
  if (open !== undefined) throw new SyntaxProblem(open.line, open.column, `${open.text} is not ended by a ;`);
  return directives;
}

type Token = Word & { readonly kind: 'word' | 'end' };

function* tokensOf(text: string): Generator<Token> {
  let line = 1;
  let lineStart = 0;
  let at = 0;
  while (at < text.length) {
    const char = text[at]!;
    const place = { line, column: at - lineStart + 1 };
    if (char === '\n') {
      line++;
      lineStart = ++at;
    } else if (char === ' ' || char === '\t' || char === '\r') at++;
    else if (char === '#') {
      while (at < text.length && text[at] !== '\n') at++;
    } else if (char === ';') {
      at++;
      yield { kind: 'end', text: ';', ...place };
    } else if (char === '{' || char === '}') {
      throw new SyntaxProblem(
        place.line,
        place.column,
        `${char}: blocks are not allowed, only directives that end with ;`,
      );
    } else if (char === '"' || char === "'") {
      const end = closing(text, at, char);
      if (end < 0) throw new SyntaxProblem(place.line, place.column, `this ${char} is never closed on its line`);
      yield { kind: 'word', text: text.slice(at + 1, end).replaceAll(/\\(["'\\])/g, '$1'), ...place };
      at = end + 1;
      if (at < text.length && !/[\s;]/.test(text[at]!)) {
        throw new SyntaxProblem(line, at - lineStart + 1, 'a blank or ; belongs behind a closing quote');
      }
    } else {
      const word = /^[^\s;{}"'#]+/.exec(text.slice(at))![0];
      if (!/^[!-~]+$/.test(word)) throw new SyntaxProblem(place.line, place.column, `${word} is not plain ASCII`);
      yield { kind: 'word', text: word, ...place };
      at += word.length;
    }
  }
}

function closing(text: string, from: number, quote: string): number {
  for (let at = from + 1; at < text.length && text[at] !== '\n'; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === quote) return at;
  }
  return -1;
}

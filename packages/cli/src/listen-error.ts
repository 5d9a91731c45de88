// Why nobody can listen somewhere, and what would help.
import { CliError, sentenceOf } from './errors.ts';

const hints: Readonly<Record<string, string>> = {
  EADDRINUSE: 'something listens there already: stop it, or choose another port',
  EADDRNOTAVAIL: 'this machine does not have that address: see `ip address`',
  EACCES: 'ports below 1024 need root or CAP_NET_BIND_SERVICE: choose a higher one',
};

/** The hint for a sentence that names a system error. */
export function listenHint(sentence: string): string | undefined {
  return Object.entries(hints).find(([code]) => sentence.includes(code))?.[1];
}

export function listenError(error: unknown, where: string): CliError {
  const sentence = sentenceOf(error);
  return new CliError(`cannot listen on ${where}: ${sentence}`, { hint: listenHint(sentence), cause: error });
}

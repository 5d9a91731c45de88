// What ends a command: a sentence, what to do next, and the exit status. Everything else that is thrown is a bug.

/** Exit statuses of clb, in the order of `clb help`. */
export const ExitStatus = {
  ok: 0,
  failed: 1,
  usage: 2,
  interrupted: 130,
} as const;
export type ExitStatus = (typeof ExitStatus)[keyof typeof ExitStatus];

export const exitStatusText: Record<ExitStatus, string> = {
  0: 'done; a role or `clb up` was stopped by SIGINT or SIGTERM and closed cleanly',
  1: 'refused or failed: the controller, a node or the machine said no, and the message says what to do next',
  2: 'not started: a wrong command, flag or argument, or a configuration file that is not valid',
  130: 'interrupted by Ctrl-C before a command was done',
};

/** A failure that the user can act upon. `hint` says how. */
export class CliError extends Error {
  readonly hint: string | undefined;
  readonly exitStatus: ExitStatus;
  /** Stable code of a controller's problem body, for `--json`. */
  readonly code: string | undefined;
  constructor(
    message: string,
    options: { hint?: string | undefined; exitStatus?: ExitStatus; code?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'CliError';
    this.hint = options.hint;
    this.exitStatus = options.exitStatus ?? ExitStatus.failed;
    this.code = options.code;
  }
}

export function usageError(message: string, hint?: string): CliError {
  return new CliError(message, { hint, exitStatus: ExitStatus.usage });
}

/** The sentence of anything that was thrown, with the system's own code where there is one. */
export function sentenceOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.message !== '') return error.message;
  const code = 'code' in error ? String(error.code) : '';
  return code === '' ? error.name : code;
}

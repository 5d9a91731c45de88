// What a command prints: one JSON value with --json, otherwise lines and aligned tables for people.

export interface Output {
  readonly isJson: boolean;
  /** A line for people; nothing with --json. */
  line(text: string): void;
  /** The answer of a command: `value` with --json, otherwise what `render` makes of it. */
  answer<T>(value: T, render: (value: T) => string): void;
  /** One event of a long-running command: a JSON object a line with --json. */
  event(event: Record<string, unknown>, text: string): void;
  /** A line on standard error. */
  warn(text: string): void;
  /** Text for standard error as it is. */
  log(text: string): void;
  /** Replaces the screen on a terminal, else prints below. */
  screen(text: string): void;
}

export interface Streams {
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean };
  readonly stderr: { write(text: string): unknown };
}

export function createOutput(streams: Streams, isJson: boolean): Output {
  const { stdout, stderr } = streams;
  const line = (text: string): void => {
    if (!isJson) stdout.write(`${text}\n`);
  };
  return {
    isJson,
    line,
    answer(value, render) {
      stdout.write(isJson ? `${JSON.stringify(value, null, 2)}\n` : `${render(value).replace(/\n$/, '')}\n`);
    },
    event(event, text) {
      stdout.write(isJson ? `${JSON.stringify(event)}\n` : `${text}\n`);
    },
    warn(text) {
      stderr.write(`${text}\n`);
    },
    log(text) {
      stderr.write(text);
    },
    screen(text) {
      if (stdout.isTTY === true) stdout.write(`\u001b[H\u001b[2J${text}\n`);
      else stdout.write(`${text}\n\n`);
    },
  };
}

/** Columns side by side, two spaces between, the last one not padded. */
export function table(head: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const cells = [head, ...rows.map((row) => row.map(cellOf))];
  const widths = head.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  return cells
    .map((row) =>
      head
        .map((_, column) => (row[column] ?? '').padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function cellOf(value: unknown): string {
  if (value === undefined || value === null || value === '') return '-';
  if (Array.isArray(value)) return value.length === 0 ? '-' : value.map(cellOf).join(',');
  if (typeof value === 'object') {
    return Object.entries(value)
      .map(([key, one]) => `${key}=${cellOf(one)}`)
      .join(' ');
  }
  // Text from elsewhere reaches a terminal here: control characters must not.
  // oxlint-disable-next-line no-control-regex
  return String(value).replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');
}

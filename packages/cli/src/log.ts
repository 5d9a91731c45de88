// What roles say to their operator, on standard error: a line for people, or a JSON object a line.

const levels = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof levels)[number];

type Say = (data: object, message: string) => void;

/** The shape that every role takes as `log`. */
export interface Log {
  readonly debug: Say;
  readonly info: Say;
  readonly warn: Say;
  readonly error: Say;
}

export function createLog(write: (text: string) => void, least: LogLevel, isJson: boolean): Log {
  const say = (level: Exclude<LogLevel, 'silent'>): Say => {
    if (levels.indexOf(level) < levels.indexOf(least)) return () => undefined;
    return (data, message) => {
      const time = new Date().toISOString();
      if (isJson) write(`${JSON.stringify({ time, level, message, ...data })}\n`);
      else write(`${time.slice(11, 23)} ${level.padEnd(5)} ${message}${factsOf(data)}\n`);
    };
  };
  return { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') };
}

function factsOf(data: object): string {
  const facts = Object.entries(data).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return facts.length === 0 ? '' : ` (${facts.join(', ')})`;
}

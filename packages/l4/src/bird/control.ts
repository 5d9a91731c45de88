// A client of BIRD's control socket: one command at a time, answers in numbered lines (BIRD 2 programmer's documentation, "client protocol").
// A line `nnnn text` ends an answer, `nnnn-text` and ` text` go on; 8xxx and 9xxx are refusals.
import { type Socket, connect } from 'node:net';

export interface BirdControl {
  /** The lines of the answer without their numbers; a refusal rejects with BIRD's words. */
  command(text: string): Promise<string[]>;
  close(): void;
}

interface Waiting {
  readonly resolve: (lines: string[]) => void;
  readonly reject: (error: Error) => void;
}

const LINE_BYTES_MAX = 1 << 20;

/** Resolves when BIRD has greeted. */
export async function connectBird(path: string, timeoutMs = 2_000): Promise<BirdControl> {
  const socket = connect(path);
  const waiting: Waiting[] = [];
  let lines: string[] = [];
  let rest = '';

  function fail(error: Error): void {
    socket.destroy();
    for (const one of waiting.splice(0)) one.reject(error);
  }
  function take(line: string): void {
    const isLast = /^\d{4} /.test(line);
    lines.push(line.replace(/^(\d{4}[ -]| )/, ''));
    if (!isLast) return;
    const answer = lines;
    lines = [];
    const one = waiting.shift();
    if (/^[89]/.test(line)) one?.reject(new Error(`BIRD: ${answer.join('; ')}`));
    else one?.resolve(answer.filter((text) => text !== ''));
  }
  socket.setEncoding('utf8');
  socket.on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    if (rest.length > LINE_BYTES_MAX) return fail(new Error('BIRD sends a line without an end'));
    for (const part of parts) take(part);
  });
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('BIRD has closed its control socket')));

  const wait = (): Promise<string[]> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => fail(new Error('BIRD does not answer')), timeoutMs);
      waiting.push({
        resolve: (answer) => (clearTimeout(timer), resolve(answer)),
        reject: (error) => (clearTimeout(timer), reject(error)),
      });
    });
  await wait();
  return {
    command(text) {
      const answer = wait();
      send(socket, text);
      return answer;
    },
    close: () => socket.destroy(),
  };
}

function send(socket: Socket, text: string): void {
  socket.write(`${text}\n`);
}

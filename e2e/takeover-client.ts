// A client of the takeover test: `takeover-client.ts <address>`. New connections without pause, kept ones beside them, no retries.
// Says at SIGTERM what it saw.
import http from 'node:http';

const [, , host = ''] = process.argv;
const seen = { answers: 0, kept: 0, errors: {} as Record<string, number> };
const fresh = new http.Agent({ keepAlive: false });
const keeping = new http.Agent({ keepAlive: true, maxSockets: 8 });
const state = { isOver: false };

function ask(agent: http.Agent): Promise<void> {
  return new Promise((resolve) => {
    const fail = (what: string): void => {
      seen.errors[what] = (seen.errors[what] ?? 0) + 1;
      resolve();
    };
    const request = http.get({ host, port: 80, agent, timeout: 5000 }, (response) => {
      response.resume();
      response.on('error', () => fail('cut'));
      response.on('end', () => {
        if (response.statusCode !== 200) return fail(String(response.statusCode));
        seen.answers++;
        if (request.reusedSocket) seen.kept++;
        resolve();
      });
    });
    request.on('timeout', () => request.destroy(new Error('timeout')));
    // A kept connection that the server closed while it was idle is the one race that HTTP/1.1 leaves to the client (RFC 9112 9.5).
    request.on('error', (error: NodeJS.ErrnoException) =>
      request.reusedSocket ? resolve() : fail(error.code ?? error.message),
    );
  });
}

async function loop(agent: http.Agent, pauseMs: number): Promise<void> {
  while (!state.isOver) {
    await ask(agent);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

await ask(fresh);
const loops = [
  ...Array.from({ length: 12 }, () => loop(fresh, 0)),
  ...Array.from({ length: 8 }, () => loop(keeping, 10)),
];
console.log('ready: asking');
process.on('SIGTERM', () => {
  state.isOver = true;
  void Promise.all(loops).then(() => {
    console.log(JSON.stringify(seen));
    process.exit(0);
  });
});

// Health of a MySQL server: read its greeting, log in without a password and leave. A server counts clients that go away in the middle of
// a login, and locks an address out after `max_connect_errors` of them; a login that is refused is complete and not counted.
import net from 'node:net';
import type { ProbeOutcome } from '../../probe/probe.ts';
import type { TargetIdentity } from '../../upstream.ts';
import {
  ERROR_PACKET,
  type Greeting,
  ownLogin,
  packet,
  type Packet,
  readError,
  readGreeting,
  readPacket,
} from './wire.ts';

export type MysqlOutcome = ProbeOutcome & { readonly greeting?: Greeting };

const AUTH_SWITCH = 0xfe;
const QUIT = Buffer.from([1]);
/** The account or its password is not right; the server is. */
const ACCESS_DENIED: ReadonlySet<number> = new Set([1044, 1045, 1251, 1275, 1698, 1820, 2059, 3118, 3159, 4151]);

/** Never throws, and always ends within the time-out. */
export function probeMysql(
  identity: TargetIdentity,
  port: number,
  user: string,
  timeoutMs: number,
): Promise<MysqlOutcome> {
  const { promise, resolve } = Promise.withResolvers<MysqlOutcome>();
  const { address, source } = identity;
  const socket = net.connect({ host: address, port, ...(source === null ? {} : { localAddress: source }) });
  const end = (outcome: MysqlOutcome): void => {
    clearTimeout(timer);
    socket.end();
    // What the server still says is of no interest; FIN, not RST, so that its last write is no error to it.
    socket.resume();
    setTimeout(() => socket.destroy(), 1000).unref();
    resolve(outcome);
  };
  const bad = (reason: string): void => end({ isGood: false, reason });
  const timer = setTimeout(() => bad(`no login in ${timeoutMs} ms`), timeoutMs);
  let seen: Buffer = Buffer.alloc(0);
  let greeting: Greeting | undefined;
  const take = ({ payload, sequence }: Packet): void => {
    if (greeting === undefined) {
      if (payload[0] === ERROR_PACKET) return bad(errorText(payload));
      greeting = readGreeting(payload);
      socket.write(packet(sequence + 1, ownLogin(user, greeting.charset)));
      return;
    }
    if (payload[0] === AUTH_SWITCH) {
      // An empty proof: no password.
      socket.write(Buffer.from([0, 0, 0, sequence + 1]));
      return;
    }
    if (payload[0] === ERROR_PACKET && !ACCESS_DENIED.has(readError(payload).code)) return bad(errorText(payload));
    if (payload[0] === 0) socket.write(packet(0, QUIT));
    end({ isGood: true, greeting });
  };
  socket.on('data', (chunk: Buffer) => {
    seen = Buffer.concat([seen, chunk]);
    try {
      for (let next = readPacket(seen); next !== null; next = readPacket(seen)) {
        seen = seen.subarray(next.end);
        take(next);
      }
    } catch (error) {
      bad((error as Error).message);
    }
  });
  socket.on('error', (error: NodeJS.ErrnoException) => bad(error.code ?? error.message));
  socket.on('end', () => bad('closed during the login'));
  return promise;
}

function errorText(payload: Buffer): string {
  const { code, text } = readError(payload);
  return `error ${code}: ${text}`;
}

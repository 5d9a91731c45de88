// A MySQL login at a relay that routes by user and schema. The relay greets the client in the name of the targets, reads who it is, asks
// the router for a group, and replays the login to a target without its proof, which the target then asks for with its own scramble.
// From there on bytes are bytes, so every way to log in works that needs no TLS between client and server.
import { randomBytes } from 'node:crypto';
import type net from 'node:net';
import type { MysqlLogin, MysqlRouter } from '@openclb/model';
import type { CompiledListener } from '../../image.ts';
import type { Accepted } from '../../phase/accept.ts';
import type { Group } from '../../scheduler.ts';
import type { Target } from '../../upstream.ts';
import { probeMysql } from './probe.ts';
import {
  askAgain,
  CAPABILITY,
  ERROR_PACKET,
  errorPayload,
  type Greeting,
  type Login,
  packet,
  readLogin,
  readPacket,
  relayGreeting,
} from './wire.ts';

const GREETING_MS = 60_000;
const PROBE_MS = 2_000;
const ERROR_TEXT = { code: 1105, state: 'HY000' } as const;
let connectionIds = 0;

/** What a login leads to. */
export interface Routed {
  readonly group: Group;
  /** Runs when the target is connected; answers what is to be sent to the client first, and calls `done` when bytes may flow. */
  readonly replay: (upstream: net.Socket, done: (forClient: Buffer) => void) => void;
}

/** Greetings of target groups, learnt from a target and kept for a minute. */
export class Greetings {
  readonly #known = new Map<string, { readonly greeting: Greeting; readonly at: number }>();

  async of(group: Group, accepted: Accepted, listener: CompiledListener): Promise<Greeting | null> {
    const known = this.#known.get(group.id);
    if (known !== undefined && performance.now() - known.at < GREETING_MS) return known.greeting;
    const { clientAddress, clientPort, vip, vport } = accepted;
    const tried: Target[] = [];
    for (let attempt = 0; attempt < 3; attempt++) {
      const member = group.pick({
        clientAddress,
        clientPort,
        vip,
        vport,
        tried,
        scheduler: listener.scheduler,
        listener: listener.name,
      });
      if (member === null) break;
      const { identity } = member.target;
      const outcome = await probeMysql(identity, identity.port, 'openclb', PROBE_MS);
      if (outcome.greeting !== undefined) {
        this.#known.set(group.id, { greeting: outcome.greeting, at: performance.now() });
        return outcome.greeting;
      }
      tried.push(member.target);
    }
    return known?.greeting ?? null;
  }
}

export class LoginRefused extends Error {
  readonly reason: string;
  constructor(reason: string, text: string) {
    super(text);
    this.reason = reason;
  }
}

/** Greets, reads and routes. Rejects with `LoginRefused`, after the client was told. */
export async function routeLogin(
  client: net.Socket,
  accepted: Accepted,
  listener: CompiledListener,
  routers: readonly MysqlRouter[],
  greetings: Greetings,
  timeoutMs: number,
): Promise<Routed> {
  const greeting = await greetings.of(listener.group!, accepted, listener);
  if (greeting === null) throw refuse(client, 0, 'no-target', 'no server can be reached');
  // Scrambles are texts in this protocol: no zeros.
  const scramble = Buffer.from(randomBytes(20).map((byte) => (byte % 127) + 1));
  connectionIds = (connectionIds + 1) >>> 0;
  const { packet: answer, payload } = await readAnswer(client, timeoutMs, () =>
    client.write(packet(0, relayGreeting(greeting, connectionIds, scramble))),
  );
  let login: Login | 'tls';
  try {
    login = readLogin(payload);
  } catch (error) {
    throw refuse(client, answer + 1, 'mysql-malformed', (error as Error).message);
  }
  if (login === 'tls') throw refuse(client, answer + 1, 'mysql-tls', 'this address offers no TLS inside of MySQL');
  if ((login.capabilities & CAPABILITY.PLUGIN_AUTH) === 0)
    throw refuse(
      client,
      answer + 1,
      'mysql-old-client',
      'this address needs a client that knows authentication plugins',
    );
  const group = chooseGroup(client, answer, login, accepted, listener, routers);
  const text = packet(answer, askAgain(payload, login));
  return { group, replay: (upstream, done) => replay(upstream, text, answer, done) };
}

function chooseGroup(
  client: net.Socket,
  sequence: number,
  login: Login,
  accepted: Accepted,
  listener: CompiledListener,
  routers: readonly MysqlRouter[],
): Group {
  const { user, schema, attributes } = login;
  const { clientAddress: address, clientPort: port } = accepted;
  const asked: MysqlLogin = { user, schema, attributes, client: { address, port }, listener: listener.name };
  for (const router of routers) {
    let name: string | undefined;
    try {
      name = router.route(asked);
    } catch {
      throw refuse(client, sequence + 1, 'mysql-router-error', 'the route of this login cannot be told');
    }
    if (name === undefined) continue;
    const group = listener.relay?.mysqlGroups?.get(name);
    if (group === undefined)
      throw refuse(client, sequence + 1, 'mysql-route-unknown', `no target group ${name} belongs to this address`);
    return group;
  }
  return listener.group!;
}

/** Tells the client in its own words, then closes. */
function refuse(client: net.Socket, sequence: number, reason: string, text: string): LoginRefused {
  client.end(packet(sequence, errorPayload(ERROR_TEXT.code, ERROR_TEXT.state, text)));
  return new LoginRefused(reason, text);
}

/** The first packet of the client; what comes behind it stays in the socket. */
function readAnswer(
  client: net.Socket,
  timeoutMs: number,
  begin: () => void,
): Promise<{ packet: number; payload: Buffer }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ packet: number; payload: Buffer }>();
  let seen: Buffer = Buffer.alloc(0);
  const onData = (chunk: Buffer): void => {
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    try {
      const whole = readPacket(seen);
      if (whole === null) return;
      client.pause();
      if (whole.end < seen.length) client.unshift(seen.subarray(whole.end));
      resolve({ packet: whole.sequence, payload: whole.payload });
    } catch (error) {
      reject(refuse(client, 1, 'mysql-malformed', (error as Error).message));
    }
  };
  const onGone = (): void => reject(new LoginRefused('mysql-login-gone', 'the client went away'));
  const timer = setTimeout(() => reject(refuse(client, 1, 'mysql-login-timeout', 'no login in time')), timeoutMs);
  client.on('data', onData);
  client.once('end', onGone);
  client.once('close', onGone);
  begin();
  client.resume();
  return promise.finally(() => {
    clearTimeout(timer);
    client.off('data', onData);
    client.off('end', onGone);
    client.off('close', onGone);
  });
}

/** Waits for the target's greeting, and gives it the login. An error instead of a greeting is the client's answer. */
function replay(upstream: net.Socket, login: Buffer, sequence: number, done: (forClient: Buffer) => void): void {
  let seen: Buffer = Buffer.alloc(0);
  const onData = (chunk: Buffer): void => {
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    let whole;
    try {
      whole = readPacket(seen);
    } catch {
      upstream.destroy();
      return;
    }
    if (whole === null) return;
    upstream.off('data', onData);
    if (whole.payload[0] === ERROR_PACKET) return done(packet(sequence + 1, whole.payload));
    upstream.write(login);
    done(seen.subarray(whole.end));
  };
  upstream.on('data', onData);
}

// The static announcer (data-plane.md P35): runs beside the switch, asks every director's packet workers for a heartbeat each 100 ms,
// and after 3 misses takes it out of the ECMP routes of VIPs, EIPs and E and moves its tunnel addresses to the survivors.
// It learns what to announce from the controller, and keeps going with the last it heard when no controller answers.
import { type Socket, type SocketOptions, createSocket } from 'node:dgram';
import { Agent, request } from 'undici';
import {
  type AnnouncedDirector,
  type Announcements,
  type Liveness,
  type Pulse,
  type RoutePlan,
  createPulse,
  diffPlans,
  planRoutes,
  routeCommands,
} from './announce.ts';
import {
  HEARTBEAT_BYTES,
  HEARTBEAT_PORT,
  HeartbeatStatus,
  heartbeatNonce,
  heartbeatStatus,
  isHeartbeat,
  writeHeartbeat,
} from './heartbeat.ts';
import { ipBatch, ourRoutes } from './ip-batch.ts';
import { type Log, messageOf, silentLog } from './log.ts';

export interface SwitchAnnouncerOptions {
  /** Where to learn what to announce; `token` is an API key. */
  readonly controller?: { readonly url: string; readonly token: string };
  /** A fixed list instead of a controller, or until one answers. */
  readonly announcements?: Announcements;
  readonly heartbeatMs?: number;
  readonly refreshMs?: number;
  /** UDP port that the workers answer on; only tests have another. */
  readonly port?: number;
  readonly log?: Log;
  /** Changes the routes; by default with `ip -batch -` in this network namespace. */
  applyRoutes?(commands: readonly string[]): Promise<void>;
  /** Addresses for which an earlier run has left routes. */
  leftOver?(): Promise<readonly string[]>;
}

export interface SwitchAnnouncer {
  /** Director → what its workers last said. */
  status(): Record<string, Liveness>;
  /** Destination → gateways, as last written. */
  routes(): Record<string, readonly string[]>;
  /** Takes another list, as the controller's would be. */
  update(announcements: Announcements): void;
  /** Stops; the routes stay as they are. */
  close(): Promise<void>;
}

interface Watched {
  readonly id: string;
  readonly address: string;
  readonly pulse: Pulse;
  nonce: number;
  answer: Liveness | null;
}

export async function startSwitchAnnouncer(options: SwitchAnnouncerOptions): Promise<SwitchAnnouncer> {
  const log = options.log ?? silentLog;
  const heart = await createHeart(options.port ?? HEARTBEAT_PORT, log);
  const leftOver = await (options.leftOver ?? defaultLeftOver(options))();
  const writer = createRouteWriter(options.applyRoutes ?? ipBatch, leftOver, log);
  let announcements: Announcements = { directors: [], addresses: [] };

  function update(next: Announcements): void {
    announcements = next;
    heart.watch(next.directors);
    write();
  }
  function beat(): void {
    heart.beat();
    write();
  }
  function write(): void {
    // Before anything is known nothing is withdrawn: the routes of an earlier run carry traffic.
    if (announcements.directors.length > 0) void writer.write(planRoutes(announcements, heart.liveness));
  }

  update(options.announcements ?? announcements);
  const timer = setInterval(beat, options.heartbeatMs ?? 100);
  const { controller } = options;
  const learner = controller === undefined ? null : learn(controller, options.refreshMs ?? 250, update, log);
  return {
    status: heart.status,
    routes: () => Object.fromEntries(writer.written()),
    update,
    async close() {
      clearInterval(timer);
      await learner?.close();
      heart.close();
    },
  };
}

/** Whoever changes routes in another way knows what is there. */
function defaultLeftOver(options: SwitchAnnouncerOptions): () => Promise<readonly string[]> {
  return options.applyRoutes === undefined ? () => ourRoutes('unicast').catch(() => []) : async () => [];
}

const LIVENESS: Readonly<Record<number, Liveness>> = {
  [HeartbeatStatus.Serving]: 'serving',
  [HeartbeatStatus.Draining]: 'draining',
  [HeartbeatStatus.Leaving]: 'dead',
};

interface Heart {
  watch(directors: readonly AnnouncedDirector[]): void;
  /** Counts what the last questions brought and asks the next ones. */
  beat(): void;
  liveness(id: string): Liveness;
  status(): Record<string, Liveness>;
  close(): void;
}

async function createHeart(port: number, log: Log): Promise<Heart> {
  const v4 = await openSocket({ type: 'udp4' }, receive);
  const v6 = await openSocket({ type: 'udp6', ipv6Only: true }, receive).catch(() => null);
  let watched = new Map<string, Watched>();
  let nonce = 0;

  function receive(message: Buffer): void {
    const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
    if (!isHeartbeat(view, 0, message.byteLength)) return;
    const answer = LIVENESS[heartbeatStatus(view, 0)] ?? null;
    for (const one of watched.values()) if (one.nonce === heartbeatNonce(view, 0)) one.answer = answer;
  }

  return {
    watch(directors) {
      const next = new Map<string, Watched>();
      for (const { id, probe } of directors) {
        const address = probe.v4 ?? probe.v6;
        if (address === undefined) continue;
        const old = watched.get(id);
        next.set(id, old?.address === address ? old : { id, address, pulse: createPulse(), nonce: 0, answer: null });
      }
      watched = next;
    },
    beat() {
      for (const one of watched.values()) {
        const before = one.pulse.state;
        const after = one.nonce === 0 ? before : one.pulse.beat(one.answer);
        if (before !== after) log.warn({ director: one.id, before, after }, 'a director changed its state');
        one.answer = null;
        one.nonce = nonce = (nonce % 0xffffffff) + 1;
        ask(one, log, one.address.includes(':') ? v6 : v4, port);
      }
    },
    liveness: (id) => watched.get(id)?.pulse.state ?? 'dead',
    status: () => Object.fromEntries([...watched.values()].map((one) => [one.id, one.pulse.state])),
    close() {
      v4.close();
      v6?.close();
    },
  };
}

interface RouteWriter {
  /** Writes what differs from the last plan; a call while one is being written is dropped, because the next beat comes soon. */
  write(plan: RoutePlan): Promise<void>;
  written(): RoutePlan;
}

function createRouteWriter(
  applyRoutes: (commands: readonly string[]) => Promise<void>,
  leftOver: readonly string[],
  log: Log,
): RouteWriter {
  // Where they lead is not known, so each is written again or removed.
  const written = new Map<string, readonly string[]>(leftOver.map((address) => [address, []]));
  let writing = false;
  let complaint = '';

  async function write(plan: RoutePlan): Promise<void> {
    const changes = diffPlans(written, plan);
    if (writing || changes.size === 0) return;
    writing = true;
    const commands = routeCommands(changes);
    try {
      await applyRoutes(commands);
      for (const [address, hops] of changes) {
        if (hops === null) written.delete(address);
        else written.set(address, hops);
      }
      complaint = '';
      log.info({ commands }, 'routes changed');
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== complaint) log.error({ reason, commands }, 'the routes could not be changed; trying again');
      complaint = reason;
    } finally {
      writing = false;
    }
  }
  return { write, written: () => written };
}

function ask(one: Watched, log: Log, socket: Socket | null, port: number): void {
  if (socket === null) return;
  const question = new Uint8Array(HEARTBEAT_BYTES);
  writeHeartbeat(new DataView(question.buffer), 0, one.nonce);
  socket.send(question, port, one.address, (error) => {
    if (error !== null) log.debug({ director: one.id, reason: error.message }, 'no heartbeat could be sent');
  });
}

function openSocket(options: SocketOptions, receive: (message: Buffer) => void): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(options);
    socket.on('message', receive);
    socket.once('error', reject);
    socket.bind(0, () => {
      socket.removeListener('error', reject);
      // An unreachable director shows as an error of the shared socket; the missing answer says it all.
      socket.on('error', () => {});
      resolve(socket);
    });
  });
}

/** Asks the controller again and again; a failure leaves what is known. */
function learn(
  controller: { readonly url: string; readonly token: string },
  refreshMs: number,
  update: (announcements: Announcements) => void,
  log: Log,
): { close(): Promise<void> } {
  const agent = new Agent({ connect: { timeout: 1_000 } });
  let known = '';
  let isFailing = false;

  async function refresh(): Promise<void> {
    try {
      const answer = await request(new URL('/v1/announcements', controller.url), {
        headers: { authorization: `Bearer ${controller.token}` },
        dispatcher: agent,
        headersTimeout: 2_000,
        bodyTimeout: 2_000,
      });
      const text = await answer.body.text();
      if (answer.statusCode !== 200)
        throw new Error(`the controller answered ${answer.statusCode}: ${text.slice(0, 200)}`);
      isFailing = false;
      if (text === known) return;
      update(readAnnouncements(text));
      known = text;
    } catch (error) {
      if (!isFailing) log.warn({ reason: messageOf(error) }, 'no announcements from the controller; keeping the last');
      isFailing = true;
    }
  }

  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  const run = async (): Promise<void> => {
    await refresh();
    if (!closed) timer = setTimeout(() => void run(), refreshMs);
  };
  void run();
  return {
    async close() {
      closed = true;
      clearTimeout(timer);
      await agent.destroy();
    },
  };
}

/** Checks what came over the wire: every address ends up in a command line. */
function readAnnouncements(text: string): Announcements {
  const value = JSON.parse(text) as Partial<Announcements>;
  const directors = value.directors ?? [];
  const addresses = value.addresses ?? [];
  const pairs = directors.flatMap((director) => [director.underlay, director.probe, ...director.tunnels]);
  const all = [...pairs.flatMap((pair) => [pair.v4, pair.v6]), ...addresses.map((row) => row.address)];
  for (const address of all) {
    if (address !== undefined && !/^[0-9a-f.:]{2,45}$/i.test(address))
      throw new Error(`not an address: ${JSON.stringify(address)}`);
  }
  return { directors, addresses };
}

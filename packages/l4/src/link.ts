// The node's end of the link to the controller (walk 3): one stream of messages in, POSTs of one message out, for ever.
// The controller may come, go and restart at any time: a node never stops serving because of it. Everything that arrives is checked here.
import {
  type DrainAnswer,
  type ExplainAnswer,
  type ExplainQuery,
  type FromNode,
  type HealthReport,
  type Image,
  type LogPage,
  type LogQuery,
  type LookAnswer,
  type LookQuery,
  type RequestQuery,
  type ShadowCounts,
  LINK_VERSION,
  type Role,
  type ToNode,
  checkToNode,
} from '@openclb/model';
import { Agent, request } from 'undici';
import { type Applied, type ImageKeeper, createImageKeeper } from './image-keeper.ts';
import { type Log, messageOf, silentLog } from './log.ts';

const BACK_OFF_MS_MIN = 100;
const BACK_OFF_MS_MAX = 2_000;
const ALIVE_EVERY_MS = 5_000;
const POST_TIMEOUT_MS = 5_000;
/** An image of 1,000 listeners with 100 targets each is below 20 MB. */
const LINE_BYTES_MAX = 64 * 1024 * 1024;

export interface LinkOptions {
  /** Base URL of the controller, as `http://192.0.2.1:7070`. */
  readonly url: string;
  /** The join token. */
  readonly token: string;
  readonly node: string;
  readonly role: Role;
  /** Where the last image is kept between runs. */
  readonly stateDir?: string;
  readonly log?: Log;
  /** Puts an image to work; a throw refuses it with that reason and the last one keeps serving. Not needed with `keeper`. */
  onImage?(image: Image, hash: string): Promise<void>;
  /** Shared with a role that also takes images by call. */
  readonly keeper?: ImageKeeper;
  onExplain?(query: ExplainQuery): ExplainAnswer | Promise<ExplainAnswer>;
  onExplainRequest?(query: RequestQuery): ExplainAnswer | Promise<ExplainAnswer>;
  onShadow?(action: 'start' | 'stop' | 'report', image: Image | null): Promise<ShadowCounts | null>;
  onLogs?(query: LogQuery): Promise<LogPage>;
  onLook?(query: LookQuery): Promise<LookAnswer>;
  onDrain?(draining: boolean): Promise<DrainAnswer>;
  onCounters?(): Record<string, number> | Promise<Record<string, number>>;
  /** What the alive message adds: which port carries the packets. */
  describe?(): { port?: string; draining?: boolean };
}

export interface Link {
  readonly connected: boolean;
  readonly applied: Applied | null;
  reportHealth(reports: readonly HealthReport[]): void;
  close(): Promise<void>;
}

/** Applies the image on disk first, then connects in the background and stays connected until `close`. */
export async function connectLink(options: LinkOptions): Promise<Link> {
  const log = options.log ?? silentLog;
  const keeper = options.keeper ?? keeperOf(options, log);
  const sender = createSender(options, log);
  const closing = new AbortController();
  let connected = false;

  keeper.listen({
    onApplied: (generation, hash) => sender.send({ version: LINK_VERSION, type: 'applied', generation, hash }),
    onRefused: (generation, hash, reason) =>
      sender.send({ version: LINK_VERSION, type: 'refused', generation, hash, reason }),
  });
  if (options.keeper === undefined) await keeper.load();

  function alive(): FromNode {
    const told = options.describe?.() ?? {};
    const state = { applied: keeper.applied?.generation ?? null, hash: keeper.applied?.hash ?? null };
    return { version: LINK_VERSION, type: 'alive', ...told, ...state };
  }

  function take(line: string): void {
    const message = readMessage(line, keeper, log);
    if (message === null || message.type === 'ping') return;
    if (message.type === 'image') keeper.offer(message.image, message.hash);
    else void answer(options, message, sender.send, log);
  }

  async function serve(): Promise<void> {
    try {
      await converse(options, sender, closing.signal, alive, take, () => {
        connected = true;
        log.info({ url: options.url }, 'connected to the controller');
      });
    } catch (error) {
      if (!closing.signal.aborted)
        log.warn({ reason: messageOf(error), url: options.url }, 'no controller, serving the last image; trying again');
    } finally {
      connected = false;
    }
  }
  const running = repeat(serve, closing.signal);

  return {
    get connected() {
      return connected;
    },
    get applied() {
      return keeper.applied;
    },
    reportHealth: (reports) => sender.send({ version: LINK_VERSION, type: 'health', reports: [...reports] }),
    async close() {
      closing.abort();
      await running;
      await keeper.idle();
      await sender.agent.destroy();
    },
  };
}

/** Runs `serve` again and again, waiting longer after each short run. */
async function repeat(serve: () => Promise<void>, signal: AbortSignal): Promise<void> {
  let wait = BACK_OFF_MS_MIN;
  while (!signal.aborted) {
    const started = performance.now();
    await serve();
    if (performance.now() - started > BACK_OFF_MS_MAX) wait = BACK_OFF_MS_MIN;
    await sleep(wait, signal);
    wait = Math.min(wait * 2, BACK_OFF_MS_MAX);
  }
}

/** One connection from its first byte to its last; throws when it ends. */
async function converse(
  options: LinkOptions,
  sender: Sender,
  closing: AbortSignal,
  alive: () => FromNode,
  take: (line: string) => void,
  onConnected: () => void,
): Promise<void> {
  const broken = new AbortController();
  const stream = await request(nodeUrl(options, `stream?role=${options.role}`), {
    headers: { authorization: `Bearer ${options.token}`, accept: 'application/x-ndjson' },
    dispatcher: sender.agent,
    signal: AbortSignal.any([closing, broken.signal]),
    headersTimeout: POST_TIMEOUT_MS,
    bodyTimeout: 0,
  });
  if (stream.statusCode !== 200)
    throw new Error(`the controller answered ${stream.statusCode}: ${(await stream.body.text()).slice(0, 300)}`);
  onConnected();
  const beat = async (): Promise<void> => {
    if (!(await sender.post(alive()))) broken.abort(new Error('the controller does not take messages'));
  };
  void beat();
  const timer = setInterval(() => void beat(), ALIVE_EVERY_MS);
  try {
    await readLines(stream.body, take);
  } finally {
    clearInterval(timer);
  }
  throw new Error('the controller ended the stream');
}

function keeperOf(options: LinkOptions, log: Log): ImageKeeper {
  const { onImage } = options;
  if (onImage === undefined) throw new TypeError('connectLink needs onImage or keeper');
  return createImageKeeper({ node: options.node, role: options.role, stateDir: options.stateDir, log, onImage });
}

function nodeUrl(options: LinkOptions, path: string): URL {
  return new URL(`/link/v1/nodes/${encodeURIComponent(options.node)}/${path}`, options.url);
}

interface Sender {
  readonly agent: Agent;
  /** Queues a message behind those before it. What is lost with the controller is told again by the next alive message. */
  send(message: FromNode): void;
  /** True when the controller took it. */
  post(message: FromNode): Promise<boolean>;
}

function createSender(options: LinkOptions, log: Log): Sender {
  const agent = new Agent({ connect: { timeout: BACK_OFF_MS_MAX }, pipelining: 1 });
  const url = nodeUrl(options, 'messages');
  let last: Promise<unknown> = Promise.resolve();

  async function attempt(message: FromNode): Promise<boolean> {
    try {
      const answer = await request(url, {
        method: 'POST',
        headers: { authorization: `Bearer ${options.token}`, 'content-type': 'application/json' },
        body: JSON.stringify(message),
        dispatcher: agent,
        headersTimeout: POST_TIMEOUT_MS,
        bodyTimeout: POST_TIMEOUT_MS,
      });
      const text = await answer.body.text();
      if (answer.statusCode < 300) return true;
      log.warn(
        { type: message.type, status: answer.statusCode, answer: text.slice(0, 300) },
        'the controller refused a message',
      );
    } catch (error) {
      log.debug({ type: message.type, reason: messageOf(error) }, 'a message did not reach the controller');
    }
    return false;
  }

  function post(message: FromNode): Promise<boolean> {
    const sent = last.then(() => attempt(message));
    last = sent;
    return sent;
  }
  return { agent, post, send: (message) => void post(message) };
}

function readMessage(line: string, keeper: ImageKeeper, log: Log): ToNode | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    log.error({ line: line.slice(0, 80) }, 'the controller sent a line that is not JSON; ignored');
    return null;
  }
  const error = checkToNode(value);
  if (error === null) return value as ToNode;
  // The controller must learn why its image is not served, also when the message around it is of a newer version.
  const message = value as { type?: unknown; image?: unknown; hash?: unknown } | null;
  if (message?.type === 'image')
    keeper.refuse(message.image, typeof message.hash === 'string' ? message.hash : '', error);
  else log.error({ reason: error }, 'the controller sent a message that this node does not understand; ignored');
  return null;
}

async function answer(
  options: LinkOptions,
  message: Extract<ToNode, { request: string }>,
  send: (message: FromNode) => void,
  log: Log,
): Promise<void> {
  const { request: id } = message;
  try {
    if (message.type === 'explain' && options.onExplain !== undefined) {
      send({ version: LINK_VERSION, type: 'explained', request: id, answer: await options.onExplain(message.query) });
    } else if (message.type === 'counters' && options.onCounters !== undefined) {
      send({ version: LINK_VERSION, type: 'counted', request: id, counters: await options.onCounters() });
    } else if (message.type === 'explain-request' && options.onExplainRequest !== undefined) {
      const answer = await options.onExplainRequest(message.query);
      send({ version: LINK_VERSION, type: 'explained', request: id, answer });
    } else if (message.type === 'shadow' && options.onShadow !== undefined) {
      const told = await options.onShadow(message.action, message.image ?? null).then(
        (report) => ({ report }),
        (error: unknown) => ({ report: null, error: messageOf(error) }),
      );
      send({ version: LINK_VERSION, type: 'shadowed', request: id, ...told });
    } else if (message.type === 'logs' && options.onLogs !== undefined) {
      send({ version: LINK_VERSION, type: 'logged', request: id, page: await options.onLogs(message.query) });
    } else if (message.type === 'look' && options.onLook !== undefined) {
      send({ version: LINK_VERSION, type: 'looked', request: id, answer: await options.onLook(message.query) });
    } else if (message.type === 'drain' && options.onDrain !== undefined) {
      send({ version: LINK_VERSION, type: 'drained', request: id, answer: await options.onDrain(message.draining) });
    }
  } catch (error) {
    log.error({ type: message.type, reason: messageOf(error) }, 'could not answer the controller');
  }
}

async function readLines(body: AsyncIterable<Uint8Array>, take: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest: string[] = [];
  let restLength = 0;
  for await (const chunk of body) {
    const parts = decoder.decode(chunk, { stream: true }).split('\n');
    for (let index = 0; index < parts.length - 1; index++) {
      const line = rest.join('') + parts[index]!;
      rest = [];
      restLength = 0;
      if (line.trim() !== '') take(line);
    }
    const tail = parts.at(-1)!;
    rest.push(tail);
    restLength += tail.length;
    if (restLength > LINE_BYTES_MAX)
      throw new Error(`a message of the controller is longer than ${LINE_BYTES_MAX} bytes`);
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done);
  });
}

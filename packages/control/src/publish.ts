// Publish (walk 3): on every change compile, send the newest image to every open stream, and keep track of who applied or refused it.
// No leader is needed: images are deterministic, so any controller may publish, and a node takes any higher generation (B4).
import { createHash } from 'node:crypto';
import { canonicalJson, type FromNode, type Image, LIMITS, LINK_VERSION, type ToNode } from '@openclb/model';
import { compile, type Compiled, compileMemo, type CompileOptions } from './compile/index.ts';
import type { Fragment } from './compile/parts.ts';
import type { Mirror } from './desired/mirror.ts';
import type { DesiredState } from './desired/state.ts';
import { healthTable, type HealthTable } from './link/health.ts';
import { type NodeTable, nodeTable } from './link/nodes.ts';
import { isAnswer, type Questions, questions } from './link/questions.ts';
import type { Stream } from './link/streams.ts';

export interface Publisher {
  readonly nodes: NodeTable;
  readonly questions: Questions;
  readonly health: HealthTable;
  /** The newest result; its revision may be a few milliseconds behind the store's. */
  readonly compiled: () => Compiled;
  /** What a state that nobody has stored would compile to. */
  candidate(state: DesiredState): Compiled;
  imageOf(node: string): { readonly image: Image; readonly hash: string } | undefined;
  /** Whether one more stream may be opened. */
  hasRoom(node: string): boolean;
  hasStream(node: string): boolean;
  connect(node: string, stream: Stream): void;
  disconnect(node: string, stream: Stream): void;
  send(node: string, message: ToNode): boolean;
  hear(node: string, message: FromNode): void;
  /** Calls back on every message and every publication; answers how to stop. */
  onProgress(listener: () => void): () => void;
  close(): void;
}

export interface PublisherOptions extends CompileOptions {
  readonly mirror: Mirror;
  readonly nowMs: () => number;
  readonly leaseMs: number;
  readonly fragments: {
    readonly kept: ReadonlyMap<string, Fragment>;
    save(fresh: ReadonlyMap<string, Fragment>): void;
  };
  readonly log: (message: string, data?: Record<string, unknown>) => void;
}

/** Changes that come within this time are published as one. */
const DEBOUNCE_MS = 5;
const PING_MS = 5_000;

export function startPublisher(options: PublisherOptions): Publisher {
  const { mirror, fragments, log } = options;
  const nodes = nodeTable(options.nowMs, options.leaseMs);
  const streams = new Map<string, Stream>();
  const asked = questions();
  const newest = compiler(options);
  const lines = imageLines(newest.compiled);
  const health = healthTable(newest.nameOf);
  const { raise: progress, listen } = signal();
  const sendNewest = (node: string): void => sendLine(streams.get(node), lines.of(node)?.line);
  const publish = (): void => {
    newest.compile();
    const known = new Set([...newest.compiled().images.keys(), ...streams.keys()]);
    nodes.forget(known);
    health.forget(known);
    for (const node of streams.keys()) sendNewest(node);
    fragments.save(newest.compiled().fragments);
    progress();
  };
  const soon = debounced(publish, (error) => log('publish failed', { error: String(error) }));
  mirror.onChange(soon.call);
  const ping = setInterval(() => {
    for (const stream of streams.values()) stream.send({ version: LINK_VERSION, type: 'ping' });
    progress();
  }, PING_MS);
  ping.unref();
  fragments.save(newest.compiled().fragments);

  return {
    nodes,
    questions: asked,
    health,
    compiled: newest.compiled,
    candidate: (state) => compile(state, fragments.kept, options, compileMemo()),
    imageOf: lines.of,
    hasRoom: (node) => streams.has(node) || streams.size < LIMITS.nodesMax,
    hasStream: (node) => streams.has(node),
    connect(node, stream) {
      streams.get(node)?.close();
      streams.set(node, stream);
      nodes.opened(node);
      soon.flush();
      sendNewest(node);
      progress();
    },
    disconnect(node, stream) {
      if (streams.get(node) !== stream) return;
      streams.delete(node);
      nodes.closed(node);
      progress();
    },
    send: (node, message) => streams.get(node)?.send(message) ?? false,
    hear(node, message) {
      nodes.hear(node, message);
      if (message.type === 'health') health.report(node, message.reports);
      else if (isAnswer(message)) asked.answer(node, message);
      else if (message.type === 'refused') log('a node refused an image', { node, reason: message.reason });
      progress();
    },
    onProgress: listen,
    close() {
      soon.cancel();
      clearInterval(ping);
      asked.close();
      for (const stream of streams.values()) stream.close();
      streams.clear();
    },
  };
}

function sendLine(stream: Stream | undefined, line: string | undefined): void {
  if (line !== undefined) stream?.sendImage(line);
}

/** The newest compiled state, and what its rows are called. */
function compiler({ mirror, fragments, ...options }: PublisherOptions) {
  const memo = compileMemo();
  let compiled = compile(mirror.state, fragments.kept, options, memo);
  let names: Map<string, string> | undefined;
  return {
    compiled: () => compiled,
    compile() {
      compiled = compile(mirror.state, fragments.kept, options, memo);
      names = undefined;
    },
    nameOf(id: string): string {
      names ??= namesOf(compiled);
      return names.get(id) ?? id;
    },
  };
}

function signal() {
  const listeners = new Set<() => void>();
  return {
    raise() {
      for (const listener of listeners) listener();
    },
    listen(listener: () => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

/** The line of the stream for each node's image, made at first use and kept while the image is the newest. */
function imageLines(compiled: () => Compiled) {
  const lines = new Map<string, { image: Image; hash: string; line: string }>();
  return {
    of(node: string): { image: Image; hash: string; line: string } | undefined {
      const image = compiled().images.get(node);
      if (!image) {
        lines.delete(node);
        return undefined;
      }
      const known = lines.get(node);
      if (known?.image === image) return known;
      const text = canonicalJson(image);
      const hash = createHash('sha256').update(text).digest('hex');
      const made = {
        image,
        hash,
        line: `{"version":${LINK_VERSION},"type":"image","hash":"${hash}","image":${text}}\n`,
      };
      lines.set(node, made);
      return made;
    },
  };
}

/** Calls that come while one is waiting are one. An error is a bug of the compiler: it must not take the API or the running images along. */
function debounced(work: () => void, onError: (error: unknown) => void) {
  let timer: NodeJS.Timeout | undefined;
  const run = (): void => {
    clearTimeout(timer);
    timer = undefined;
    try {
      work();
    } catch (error) {
      onError(error);
    }
  };
  return {
    call() {
      timer ??= setTimeout(run, DEBOUNCE_MS);
    },
    /** Does at once what is waiting. */
    flush() {
      if (timer !== undefined) run();
    },
    cancel: () => clearTimeout(timer),
  };
}

/** Stable id → resource id of every target in the images. */
function namesOf({ images }: Compiled): Map<string, string> {
  const names = new Map<string, string>();
  for (const image of images.values()) {
    if (image.role !== 'endpoint') for (const { id, name } of image.targets) names.set(id, name);
  }
  return names;
}

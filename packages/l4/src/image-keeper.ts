// Which image a node serves (B4, B12, B14): the newest wins, an older one or another one of the same generation is refused,
// intermediate ones are skipped, and whatever goes wrong the last good one keeps serving. Applied images go to disk.
import { type Generation, type Image, type Role, checkImage } from '@openclb/model';
import { type CachedImage, imageHash, readCachedImage, writeCachedImage } from './image-cache.ts';
import { type Log, messageOf } from './log.ts';

export interface ImageKeeperOptions {
  readonly node: string;
  readonly role: Role;
  /** Where the last image is kept; without it nothing outlives the process. */
  readonly stateDir?: string | undefined;
  readonly log: Log;
  /** Puts the image to work. A throw refuses it; the message is the reason that the controller shows. */
  onImage(image: Image, hash: string): Promise<void>;
  onApplied?(generation: Generation, hash: string): void;
  onRefused?(generation: Generation, hash: string, reason: string): void;
}

export interface Applied {
  readonly generation: Generation;
  readonly hash: string;
}

export interface ImageKeeper {
  readonly applied: Applied | null;
  /** Applies the image on disk, if there is a good one. */
  load(): Promise<void>;
  /** Takes an image from the link; returns at once. `hash` is what the sender says it is. */
  offer(image: unknown, hash: string): void;
  /** Applies an image given by the caller; rejects with the reason when it is refused. */
  apply(image: Image): Promise<void>;
  /** Refuses an image that nobody here may read, because of how it came. */
  refuse(image: unknown, hash: string, reason: string): void;
  /** Resolves when nothing is waiting to be applied. */
  idle(): Promise<void>;
  /** Where the caller learns of what was applied and refused. */
  listen(listeners: Pick<ImageKeeperOptions, 'onApplied' | 'onRefused'>): void;
}

const UNREADABLE: Generation = { revision: 0, compiler: 0 };

/** Negative when `a` is older than `b`: the store's revision first, then the compiler's version (B4). */
export function compareGenerations(a: Generation, b: Generation): number {
  return a.revision - b.revision || a.compiler - b.compiler;
}

export function formatGeneration(generation: Generation): string {
  return `${generation.revision}.${generation.compiler}`;
}

/** Null when the image may be applied now; `same` when it is the one that serves already. */
function objection({ image, hash }: CachedImage, role: Role, applied: Applied | null): string | 'same' | null {
  if (image.role !== role) return `this node is a ${role}, the image is for a ${image.role}`;
  if (applied === null) return null;
  const order = compareGenerations(image.generation, applied.generation);
  if (order > 0) return null;
  const name = `generation ${formatGeneration(image.generation)}`;
  if (order < 0) return `${name} is older than the applied ${formatGeneration(applied.generation)}`;
  if (hash === applied.hash) return 'same';
  return `${name} is applied with hash ${applied.hash.slice(0, 12)}, this one has ${hash.slice(0, 12)}; two controllers compile differently`;
}

export function createImageKeeper(options: ImageKeeperOptions): ImageKeeper {
  const { log } = options;
  let applied: Applied | null = null;
  let pending: CachedImage | null = null;
  let working: Promise<void> = Promise.resolve();
  let busy = false;
  let listeners: Pick<ImageKeeperOptions, 'onApplied' | 'onRefused'> = options;

  function refuse(generation: Generation, hash: string, reason: string): void {
    log.error({ generation, hash, reason }, 'image refused, the last one keeps serving');
    listeners.onRefused?.(generation, hash, reason);
  }

  /** Applies one image that passed all checks; throws the reason when the data path would not take it. */
  async function putToWork(candidate: CachedImage): Promise<void> {
    await options.onImage(candidate.image, candidate.hash);
    applied = { generation: candidate.image.generation, hash: candidate.hash };
    await keepOnDisk(options, candidate);
  }

  async function consider(candidate: CachedImage): Promise<void> {
    const reason = objection(candidate, options.role, applied);
    if (reason !== null && reason !== 'same') throw new Error(reason);
    if (reason === null) await putToWork(candidate);
    log.info({ generation: candidate.image.generation, hash: candidate.hash }, 'image applied');
    listeners.onApplied?.(candidate.image.generation, candidate.hash);
  }

  async function drain(): Promise<void> {
    while (pending !== null) {
      const candidate: CachedImage = pending;
      pending = null;
      try {
        await consider(candidate);
      } catch (error) {
        refuse(candidate.image.generation, candidate.hash, messageOf(error));
      }
    }
    busy = false;
  }

  return {
    get applied() {
      return applied;
    },
    async load() {
      const cached = await findOnDisk(options);
      if (cached === null) return;
      await consider(cached).catch((error: unknown) => refuse(cached.image.generation, cached.hash, messageOf(error)));
    },
    offer(image, hash) {
      const candidate = read(image, hash);
      if (typeof candidate === 'string') return refuse(generationOf(image), hash, candidate);
      if (pending !== null && compareGenerations(candidate.image.generation, pending.image.generation) < 0) return;
      pending = candidate;
      if (busy) return;
      busy = true;
      working = working.then(drain);
    },
    async apply(image) {
      const error = checkImage(image);
      if (error !== null) throw new Error(error);
      const done = working.then(() => consider({ image, hash: imageHash(image) }));
      working = done.catch(() => undefined);
      await done;
    },
    refuse: (image, hash, reason) => refuse(generationOf(image), hash, reason),
    idle: () => working,
    listen(next) {
      listeners = next;
    },
  };
}

/** An image as it came and the hash that its sender claims; a string says why it cannot be used. */
function read(image: unknown, hash: string): CachedImage | string {
  const error = checkImage(image);
  if (error !== null) return error;
  const own = imageHash(image as Image);
  return own === hash
    ? { image: image as Image, hash }
    : `the image hashes to ${own.slice(0, 12)}, not to ${hash.slice(0, 12)}`;
}

function generationOf(image: unknown): Generation {
  const generation = (image as { generation?: Partial<Generation> } | null)?.generation;
  if (!Number.isSafeInteger(generation?.revision) || !Number.isSafeInteger(generation?.compiler)) return UNREADABLE;
  return { revision: Math.max(0, generation!.revision!), compiler: Math.max(0, generation!.compiler!) };
}

async function keepOnDisk({ stateDir, node, log }: ImageKeeperOptions, candidate: CachedImage): Promise<void> {
  if (stateDir === undefined) return;
  try {
    await writeCachedImage(stateDir, node, candidate);
  } catch (error) {
    log.error(
      { reason: messageOf(error) },
      'the image serves but is not on disk; a restart without controller would lose it',
    );
  }
}

async function findOnDisk({ stateDir, node, role, log }: ImageKeeperOptions): Promise<CachedImage | null> {
  if (stateDir === undefined) return null;
  try {
    return await readCachedImage(stateDir, node, role);
  } catch (error) {
    log.warn({ reason: messageOf(error) }, 'the image on disk is not used; waiting for the controller');
    return null;
  }
}

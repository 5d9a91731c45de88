// The last applied image on disk (B11, P40): a node serves from it when no controller answers.
// Written beside its place, synced, then renamed: a crash at any moment leaves the old file or the new one, never half of one.
import { createHash } from 'node:crypto';
import { promises } from 'node:fs';
import { join } from 'node:path';
import { type Image, type Role, canonicalJson, checkImage } from '@openclb/model';

export interface CachedImage {
  readonly hash: string;
  readonly image: Image;
}

/** SHA-256 over the canonical JSON: equal on every node and controller for an equal image. */
export function imageHash(image: Image): string {
  return createHash('sha256').update(canonicalJson(image)).digest('hex');
}

export function cachePath(stateDir: string, node: string): string {
  return join(stateDir, `${encodeURIComponent(node)}.image.json`);
}

export async function writeCachedImage(stateDir: string, node: string, cached: CachedImage): Promise<void> {
  await promises.mkdir(stateDir, { recursive: true });
  const path = cachePath(stateDir, node);
  const file = await promises.open(`${path}.new`, 'w', 0o600);
  try {
    await file.writeFile(JSON.stringify(cached));
    await file.sync();
  } finally {
    await file.close();
  }
  await promises.rename(`${path}.new`, path);
  const directory = await promises.open(stateDir, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Null when there is none; throws with a reason when there is one that must not be used. */
export async function readCachedImage(stateDir: string, node: string, role: Role): Promise<CachedImage | null> {
  const path = cachePath(stateDir, node);
  let text: string;
  try {
    text = await promises.readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const cached = parse(path, text);
  const error = checkImage(cached.image);
  if (error !== null) throw new Error(`${path}: ${error}`);
  if (cached.image.role !== role) throw new Error(`${path} is for a ${cached.image.role}, not for a ${role}`);
  if (imageHash(cached.image) !== cached.hash)
    throw new Error(`${path} does not have the hash that it names; it was damaged`);
  return cached;
}

function parse(path: string, text: string): CachedImage {
  try {
    return JSON.parse(text) as CachedImage;
  } catch {
    throw new Error(`${path} is not JSON; it was damaged`);
  }
}

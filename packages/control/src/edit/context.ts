// What every edit needs: the draft, the pools, time and fresh ids as arguments, and the checks that all resources share.
import {
  address,
  canonicalAddress,
  type Cidr,
  cidrContains,
  ClbError,
  ID_PREFIX,
  type ResourceKind,
} from '@openclb/model';
import type { Draft } from '../desired/draft.ts';
import type { Pools } from '../options.ts';

export interface Edit {
  readonly draft: Draft;
  readonly pools: Pools;
  readonly nowMs: number;
  /** Loopback addresses are usable: everything is on one machine. */
  readonly isOneBox: boolean;
  /** Eight lower-case letters and digits: random, or for documents derived from what names the object, so that they come out alike. */
  readonly freshId: (kind: ResourceKind, naturalName: string) => string;
}

export function newId(edit: Edit, kind: ResourceKind, naturalName: string): string {
  return `${ID_PREFIX[kind]}-${edit.freshId(kind, naturalName)}`;
}

/** The canonical spelling, or a refusal that names the field. */
export function requireAddress(field: string, text: string): string {
  const canonical = canonicalAddress(text);
  if (canonical === undefined) throw new ClbError('BadAddress', { field, value: text });
  return canonical;
}

const LOOPBACK: readonly Cidr[] = [
  { family: 4, base: 0x7f00_0000n, prefix: 8 },
  { family: 6, base: 1n, prefix: 128 },
];

/** Multicast, unspecified, loopback and link-local addresses are nobody's to give away. */
const UNUSABLE: readonly Cidr[] = [
  { family: 4, base: 0n, prefix: 8 },
  { family: 4, base: 0x7f00_0000n, prefix: 8 },
  { family: 4, base: 0xa9fe_0000n, prefix: 16 },
  { family: 4, base: 0xe000_0000n, prefix: 3 },
  { family: 6, base: 0n, prefix: 127 },
  { family: 6, base: 0xfe80n << 112n, prefix: 10 },
  { family: 6, base: 0xff00n << 112n, prefix: 8 },
];

/** An address that a tenant may use: neither special nor in the ranges that the product keeps for itself. */
export function requireUsableAddress(edit: Edit, field: string, text: string): string {
  const canonical = requireAddress(field, text);
  const parsed = address(canonical);
  const isOurs = edit.isOneBox && LOOPBACK.some((block) => cidrContains(block, parsed));
  if (!isOurs && UNUSABLE.some((block) => cidrContains(block, parsed))) {
    throw new ClbError('BadCombination', {
      field,
      rule: `${canonical} is not a unicast address that can be used here`,
    });
  }
  const { service, tunnelV4, tunnelV6, proxyV6, probeV6 } = edit.pools;
  if ([service, tunnelV4, tunnelV6, proxyV6, probeV6].some((block) => cidrContains(block, parsed))) {
    throw new ClbError('ReservedRange', { field, value: canonical });
  }
  return canonical;
}

export function reject(field: string, rule: string, hint?: string): never {
  throw new ClbError('BadCombination', { field, rule }, hint);
}

/** Reads an object that the new one refers to, and makes a concurrent deletion of it fail. */
export function requireReference<T>(edit: Edit, key: string, field: string, value: string | number): T {
  const found = edit.draft.get<T>(key);
  if (found === undefined) throw new ClbError('BadReference', { field, value });
  edit.draft.touch(key);
  return found;
}

/** `undefined` members away, because the store's schemas know absent fields only. */
export function compact<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as never;
}

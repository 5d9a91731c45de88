// Address pools: which address is handed out next. Pure; whether one is taken is the caller's knowledge.
import { addToAddress, type Cidr, cidrContains, cidrSize, formatAddress, parseAddress } from '@openclb/model';

/** Addresses looked at before a pool counts as exhausted: an IPv6 block cannot be searched to its end. */
const SEARCH_MAX = 65_536;

/** Networks and broadcast addresses of IPv4 blocks are not handed out, nor the first address of an IPv6 block (RFC 4291 2.6.1). */
export function firstFree(
  pool: readonly Cidr[],
  family: 4 | 6,
  isTaken: (address: string) => boolean,
): string | undefined {
  for (const block of pool) {
    if (block.family !== family) continue;
    const size = cidrSize(block);
    const isWhole = size <= 2n;
    const last = family === 4 && !isWhole ? size - 1n : size;
    for (let index = isWhole ? 0n : 1n; index < last && index < BigInt(SEARCH_MAX); index++) {
      const text = formatAddress(addToAddress({ family, value: block.base }, index));
      if (!isTaken(text)) return text;
    }
  }
  return undefined;
}

export function isInPool(pool: readonly Cidr[], address: string): boolean {
  const parsed = parseAddress(address);
  return parsed !== undefined && pool.some((block) => cidrContains(block, parsed));
}

// The ABI: what TypeScript may call. Crossed once per burst, never per packet; every address comes from the memory map.
import { LAYOUT_HASH } from './layout.gen';
import { setNow } from './memory';
import { expireFlows as expire } from './table/flow-state';
import { expireFragments } from './table/fragment';

export { endpointBurst } from './endpoint/burst';
export { init } from './memory';
export { emitBurst, forwardBurst, probeBurst } from './path/burst';
export { checksumOne, decapsulateOne, encapsulateOne, parseOne, rewriteOne } from './standalone';
export { adopt } from './table/bank';
export { receive, recycle, send, transmit } from './port/port';

export function layoutHash(): u32 {
  return LAYOUT_HASH;
}

/** Ends idle flows among the next few entries; returns how many. */
export function expireFlows(nowMs: u32): u32 {
  setNow(nowMs);
  expireFragments();
  return expire();
}

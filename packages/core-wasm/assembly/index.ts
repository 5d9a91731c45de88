// The ABI: what TypeScript may call. Crossed once per burst, never per packet; every address comes from the memory map.
import { LAYOUT_HASH } from './layout.gen';

export { init } from './memory';

export function layoutHash(): u32 {
  return LAYOUT_HASH;
}

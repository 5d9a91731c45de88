// The endpoint's image tables: which bank is in use, and the one table that answers "what is (net, address, port, protocol) to us?".
// The hash is the same in src/endpoint.ts, which writes the rows; a test compares the two.
import {
  ControlBlock,
  ENDPOINT_PORT_BYTES,
  ENDPOINT_ROW_BYTES,
  EndpointBank,
  EndpointKind,
  EndpointPort,
  EndpointRow,
  EndpointState,
} from '../layout.gen';
import { control, endpoint, endpointShared, map } from '../memory';
import { isSameAddress } from '../wire/ipv6';

const MULTIPLIER: u32 = 0x9e3779b1;

export let bank: EndpointBank = changetype<EndpointBank>(0);
/** This worker's own region: return memory and counters. */
export let state: EndpointState = changetype<EndpointState>(0);

/** Adopts the newest complete bank and says so. False before the first image. */
export function adopt(): bool {
  const generation = atomic.load<u32>(changetype<usize>(control), offsetof<ControlBlock>('endpointGeneration'));
  state = changetype<EndpointState>(endpoint);
  if (generation == 0) return false;
  const half = <usize>((map.endpointSharedBytes >> 1) & ~63);
  bank = changetype<EndpointBank>((generation & 1) == 0 ? endpointShared : endpointShared + half);
  atomic.store<u32>(endpoint, generation, offsetof<EndpointState>('adopted'));
  return true;
}

export function portAt(index: u32): EndpointPort {
  return changetype<EndpointPort>(<usize>bank.ports + <usize>index * ENDPOINT_PORT_BYTES);
}

/** The row of a key, or null (address 0). */
export function find(kind: EndpointKind, net: u32, address: usize, port: u32, protocol: u32): EndpointRow {
  const hash = hashOf(kind, net, address, port, protocol);
  const slots = bank.slots;
  let slot = <u32>((<u64>hash * slots) >> 32);
  // The table is never full, so an empty slot ends the walk; `slots` bounds it whatever the memory holds.
  for (let count: u32 = 0; count < slots; count++) {
    const row = changetype<EndpointRow>(<usize>bank.table + <usize>slot * ENDPOINT_ROW_BYTES);
    if (row.kind == <u8>EndpointKind.Empty) break;
    if (
      row.hash == hash &&
      row.kind == <u8>kind &&
      row.net == net &&
      row.port == <u16>port &&
      row.protocol == <u8>protocol &&
      isSameAddress(row.address, address)
    )
      return row;
    slot = slot + 1 == slots ? 0 : slot + 1;
  }
  return changetype<EndpointRow>(0);
}

export function isNone(row: EndpointRow): bool {
  return changetype<usize>(row) == 0;
}

/** True when the address is in the table as this kind, without net and port. */
export function isKnown(kind: EndpointKind, address: usize): bool {
  return !isNone(find(kind, 0, address, 0, 0));
}

export function hashOf(kind: EndpointKind, net: u32, address: usize, port: u32, protocol: u32): u32 {
  let hash = mix(0, load<u32>(address));
  hash = mix(hash, load<u32>(address, 4));
  hash = mix(hash, load<u32>(address, 8));
  hash = mix(hash, load<u32>(address, 12));
  hash = mix(hash, net);
  hash = mix(hash, port | (protocol << 16) | ((<u32>kind) << 24));
  return finish(hash);
}

export function mix(hash: u32, word: u32): u32 {
  const mixed = (hash ^ word) * MULTIPLIER;
  return mixed ^ (mixed >> 15);
}

export function finish(hash: u32): u32 {
  let mixed = (hash ^ (hash >> 16)) * 0x85ebca6b;
  mixed = (mixed ^ (mixed >> 13)) * 0xc2b2ae35;
  return mixed ^ (mixed >> 16);
}

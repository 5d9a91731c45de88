// Routes and neighbours (P36): written live by the main thread under one seqlock, read by the path. Few writes, so readers just retry.
import {
  NEIGHBOURS_MAX, NEIGHBOUR_ROW_BYTES, NONE, NeighbourRow, NextHopTable, ROUTE_ROW_BYTES, RouteRow, UNRESOLVED_MAX, UNRESOLVED_ROW_BYTES,
  UnresolvedRow,
} from '../layout.gen';
import { neighbours, nextHops, nowMs, readOnly, routes, state, unresolved } from '../memory';

/** A writer that was put to sleep in the middle must not stop the worker: after this many tries the packet is held. */
const READ_TRIES: u32 = 64;
const MAPPED: u64 = 0xffff0000;

/** What `findRoute` found; valid until its next call. */
export let routePort: u32 = 0;
export let routeMtu: u32 = 0;
/** First and second half of the address to resolve: the gateway, or the destination itself on the link. */
export let hopHigh: u64 = 0;
export let hopLow: u64 = 0;
let isGateway: bool = false;
let gatewayRow: u32 = 0;

/** Longest prefix of a 16-byte address. False when there is no route. */
export function findRoute(destination: usize): bool {
  const high = load<u64>(destination);
  const low = load<u64>(destination, 8);
  for (let tries: u32 = 0; tries < READ_TRIES; tries++) {
    const before = sequence();
    if (before & 1) continue;
    const isFound = searchRoutes(high, low);
    if (sequence() == before) return isFound;
  }
  return false;
}

/** Row of the neighbour that `findRoute` named, or NONE. The writer has looked gateways up already. */
export function findNeighbour(): u32 {
  if (isGateway) return gatewayRow - 1;
  for (let tries: u32 = 0; tries < READ_TRIES; tries++) {
    const before = sequence();
    if (before & 1) continue;
    const row = searchNeighbours(hopHigh, hopLow);
    if (sequence() == before) return row;
  }
  return NONE;
}

/** A row found this very moment; marks it as used. */
export function useNeighbour(row: u32): NeighbourRow {
  const neighbour = neighbourAt(row);
  neighbour.usedMs = nowMs;
  return neighbour;
}

/** Tells the main program that the neighbour of a row is wanted. */
export function touchNeighbour(row: u32): void {
  const neighbour = neighbourAt(row);
  if (neighbour.usedMs != nowMs) neighbour.usedMs = nowMs;
}

/** Copies the link address of a row and marks it as used. False when the row was given to another address meanwhile. */
export function copyNeighbour(row: u32, to: usize): bool {
  const neighbour = neighbourAt(row);
  if (neighbour.addressLow != hopLow || neighbour.addressHigh != hopHigh) return false;
  store<u32>(to, load<u32>(neighbour.mac));
  store<u16>(to, load<u16>(neighbour.mac, 4), 4);
  if (neighbour.usedMs != nowMs) neighbour.usedMs = nowMs;
  return true;
}

/** Tells the main program once in a while that the next hop found last is wanted. The ring forgets the oldest. */
export function reportUnresolved(): void {
  if (readOnly) return;
  const last = unresolvedAt(state.unresolvedHead - 1);
  if (last.addressLow == hopLow && last.addressHigh == hopHigh && last.port == routePort && nowMs - last.atMs < 100) return;
  const row = unresolvedAt(state.unresolvedHead);
  row.addressHigh = hopHigh;
  row.addressLow = hopLow;
  row.port = routePort;
  row.atMs = nowMs;
  state.unresolvedHead += 1;
}

/** Changes with every change of the table; odd in the middle of one. */
export function sequence(): u32 { return atomic.load<u32>(changetype<usize>(nextHops), offsetof<NextHopTable>('sequence')); }

function searchRoutes(high: u64, low: u64): bool {
  const count = nextHops.routes;
  const family: u32 = high == 0 && (low & 0xffffffff) == MAPPED ? 4 : 6;
  for (let at: u32 = 0; at < count; at++) {
    const route = RouteRow.at(routes + <usize>at * ROUTE_ROW_BYTES);
    if ((high & route.maskHigh) != route.prefixHigh || (low & route.maskLow) != route.prefixLow || route.family != family) continue;
    const isOnLink = (route.gatewayHigh | route.gatewayLow) == 0;
    hopHigh = isOnLink ? high : route.gatewayHigh;
    hopLow = isOnLink ? low : route.gatewayLow;
    isGateway = !isOnLink;
    gatewayRow = route.neighbour;
    routePort = route.port;
    routeMtu = route.mtu;
    return true;
  }
  return false;
}

function searchNeighbours(high: u64, low: u64): u32 {
  let at = hashNeighbour(high, low) & (NEIGHBOURS_MAX - 1);
  for (let count: u32 = 0; count < NEIGHBOURS_MAX; count++) {
    const row = neighbourAt(at);
    if ((row.addressHigh | row.addressLow) == 0) return NONE;
    if (row.addressLow == low && row.addressHigh == high) return row.flags == 0 ? NONE : at;
    at = (at + 1) & (NEIGHBOURS_MAX - 1);
  }
  return NONE;
}

/** src/next-hop.ts has the same. */
function hashNeighbour(high: u64, low: u64): u32 {
  let hash = <u32>high * 0x9e3779b1 + <u32>(high >> 32) * 0x85ebca77 + <u32>low * 0xc2b2ae3d + <u32>(low >> 32) * 0x27d4eb2f;
  hash = (hash ^ (hash >> 16)) * 0x85ebca6b;
  return hash ^ (hash >> 13);
}

function neighbourAt(row: u32): NeighbourRow { return NeighbourRow.at(neighbours + <usize>row * NEIGHBOUR_ROW_BYTES); }
function unresolvedAt(number: u32): UnresolvedRow {
  return UnresolvedRow.at(unresolved + <usize>(number & (UNRESOLVED_MAX - 1)) * UNRESOLVED_ROW_BYTES);
}

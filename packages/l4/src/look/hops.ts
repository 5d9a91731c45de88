// Routes and neighbours as the walk has them (data-plane.md P36), read by the thread that writes them.
import { type MemoryPlan } from '@openclb/core-wasm';
import { NeighbourRow, NextHopTable, RouteRow, limits } from '@openclb/core-wasm/layout';
import { type MemoryRows } from './memory-rows.ts';

export interface LookRoute {
  readonly prefix: string;
  readonly gateway: string | null;
  readonly device: string;
  readonly mtu: number;
  readonly resolved: boolean;
}

export interface LookNeighbour {
  readonly address: string;
  readonly mac: string;
  readonly device: string;
  /** Since a packet went there; null: none has. */
  readonly usedMs: number | null;
}

export function readRoutes(rows: MemoryRows, { map }: MemoryPlan, device: string): LookRoute[] {
  const { view } = rows;
  const { at } = RouteRow;
  const count = Math.min(limits.ROUTES_MAX, view.getUint32(map.nextHops + NextHopTable.at.routes, true));
  return Array.from({ length: count }, (_, number) => {
    const row = map.routes + number * RouteRow.bytes;
    const isV4 = view.getUint32(row + at.family, true) === 4;
    const length = view.getUint32(row + at.length, true) - (isV4 ? 96 : 0);
    return {
      prefix: `${rows.address(row + at.prefix)}/${length}`,
      gateway: isZero(view, row + at.gateway) ? null : rows.address(row + at.gateway),
      device,
      mtu: view.getUint32(row + at.mtu, true),
      resolved: view.getUint32(row + at.neighbour, true) !== 0,
    };
  });
}

export function readNeighbours(rows: MemoryRows, { map }: MemoryPlan, device: string, nowMs: number): LookNeighbour[] {
  const { view } = rows;
  const { at } = NeighbourRow;
  const found: LookNeighbour[] = [];
  for (let slot = 0; slot < limits.NEIGHBOURS_MAX; slot++) {
    const row = map.neighbours + slot * NeighbourRow.bytes;
    if (view.getUint32(row + at.flags, true) === 0) continue;
    const usedMs = view.getUint32(row + at.usedMs, true);
    const mac = Array.from({ length: 6 }, (_, index) => view.getUint8(row + at.mac + index));
    found.push({
      address: rows.address(row + at.address),
      mac: mac.map((byte) => byte.toString(16).padStart(2, '0')).join(':'),
      device,
      usedMs: usedMs === 0 ? null : (nowMs - usedMs) >>> 0,
    });
  }
  return found;
}

function isZero(view: DataView, at: number): boolean {
  return view.getBigUint64(at, true) === 0n && view.getBigUint64(at + 8, true) === 0n;
}

// Which destinations belong to a director's data path (data-plane.md P1): VIPs, EIPs, tunnel addresses of the whole cluster, E and its
// probe address. Pure: from an image to what is steered away from the kernel, and what changes between two images.
import { type AddressPair, type DirectorImage, address, toBytes16 } from '@openclb/model';
import { Steer } from './port/port.ts';
import { type SteerRow } from './worker-messages.ts';

/** Address text → Steer bits. */
export type OurAddresses = ReadonlyMap<string, number>;

export function ourAddresses(image: DirectorImage): OurAddresses {
  const ours = new Map<string, number>();
  const add = (text: string | undefined, protocols: number): void => {
    if (text !== undefined) ours.set(text, protocols);
  };
  const addPair = (pair: AddressPair): void => [pair.v4, pair.v6].forEach((text) => add(text, Steer.All));
  // Internal VIPs arrive inside tunnels only, and their addresses may mean something else on the underlay.
  for (const vip of image.vips) if (vip.net === 0) add(vip.address, Steer.All);
  for (const eip of image.eips) add(eip.eip, Steer.All);
  // Not tunnels alone: ICMP about a tunnel and the heartbeat come to these addresses as well (P14, P35).
  for (const tunnel of image.tunnels) addPair(tunnel);
  addPair(image.anycast);
  addPair(image.probe);
  return ours;
}

/** What must be told to a port when these addresses replace those. */
export function steerChanges(before: OurAddresses, after: OurAddresses): SteerRow[] {
  const rows: SteerRow[] = [];
  for (const [text, protocols] of after) if (before.get(text) !== protocols) rows.push(steerRow(text, protocols));
  for (const text of before.keys()) if (!after.has(text)) rows.push(steerRow(text, 0));
  return rows;
}

function steerRow(text: string, protocols: number): SteerRow {
  return { prefix: toBytes16(address(text)), bits: 128, protocols };
}

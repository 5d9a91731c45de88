// Which destinations belong to a director's data path (data-plane.md P1): VIPs, EIPs, tunnel addresses of the whole cluster, E and its
// probe address; and which sources, because replies of targets without tunnel are addressed to the client (P41).
// Pure: from an image to what is steered away from the kernel, and what changes between two images.
import { type AddressPair, type DirectorImage, address, toBytes16 } from '@openclb/model';
import { Steer } from './port/port.ts';
import { type SteerRow } from './worker-messages.ts';

/** Text of an address or block → Steer bits. */
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

/**
 * With the targets whose replies come back as they are (LVS-NAT). What they send to the machine itself stays with the kernel: `own` are
 * its addresses. Empty where every target is behind a tunnel.
 */
export function ourSources(image: DirectorImage, own: readonly string[]): OurAddresses {
  const translated = new Set(image.listeners.filter((row) => row.translation !== 'none').map((row) => row.group));
  const members = image.groups.filter((row) => translated.has(row.id)).flatMap((row) => row.targets);
  const ids = new Set(members.map((row) => row.target));
  const plain = image.targets.filter((row) => row.encapsulation === 'none' && ids.has(row.id));
  const steered = new Map<string, number>(plain.map((row) => [row.address, Steer.Source]));
  // A target on this very machine answers by its kernel.
  if (plain.length > 0) for (const text of [...own, ...BROADCASTS]) steered.set(text, Steer.Kernel);
  return steered;
}

/** Neighbour discovery among them: the kernel would not learn its targets' link addresses any more. */
const BROADCASTS = ['255.255.255.255', '224.0.0.0/4', 'ff00::/8'];

/** What must be told to a port when these addresses replace those. */
export function steerChanges(before: OurAddresses, after: OurAddresses): SteerRow[] {
  const rows: SteerRow[] = [];
  for (const [text, protocols] of after) if (before.get(text) !== protocols) rows.push(steerRow(text, protocols));
  for (const text of before.keys()) if (!after.has(text)) rows.push(steerRow(text, 0));
  return rows;
}

/** An address, or a block of them. */
function steerRow(text: string, protocols: number): SteerRow {
  const [base = '', length] = text.split('/');
  const value = address(base);
  const bits = length === undefined ? 128 : (value.family === 4 ? 96 : 0) + Number(length);
  return { prefix: toBytes16(value), bits, protocols };
}

// The other directors as flow sync sees them (data-plane.md P9): what each has sent, whether it is heard, and which copy it is being sent.
import { isIPv6 } from 'node:net';
import { type SyncPeer } from '@openclb/model';
import { SyncWindow } from './sync-window.ts';

/** A peer that was heard within this time lives. */
export const PEER_ALIVE_MS = 1_500;

export interface PeerState {
  readonly ordinal: number;
  readonly node: string;
  /** Underlay address that datagrams come from and go to. */
  readonly address: string;
  /** Datagrams for everyone, and those for us alone: each is a stream of its own. */
  readonly toAll: SyncWindow;
  readonly toUs: SyncWindow;
  /** Of our stream to it. */
  sequence: number;
  heardMs: number;
  sentMs: number;
  /** When a full copy was asked of it, and until when its answer is awaited. */
  askedMs: number;
  isAwaited: boolean;
  /** A full copy on its way to it: which worker's table (after the last one the standby table), and where. */
  copy: { worker: number; from: number } | null;
  copyEndedMs: number;
}

/** Address of a family both ends have; IPv4 first. */
export function peerAddress(peer: SyncPeer, own: SyncPeer['underlay']): string | undefined {
  if (own.v4 !== undefined && peer.underlay.v4 !== undefined) return peer.underlay.v4;
  return own.v6 === undefined ? undefined : peer.underlay.v6;
}

/** Peers of an image: known ones keep their state unless their address has changed. */
export function updatePeers(
  before: ReadonlyMap<number, PeerState>,
  peers: readonly SyncPeer[],
  own: SyncPeer['underlay'],
): Map<number, PeerState> {
  const next = new Map<number, PeerState>();
  for (const peer of peers) {
    const address = peerAddress(peer, own);
    if (address === undefined) continue;
    const known = before.get(peer.ordinal);
    next.set(peer.ordinal, known?.address === address ? known : newPeer(peer, address));
  }
  return next;
}

function newPeer({ ordinal, node }: SyncPeer, address: string): PeerState {
  const windows = { toAll: new SyncWindow(), toUs: new SyncWindow() };
  const never = { sequence: 0, heardMs: 0, sentMs: 0, askedMs: 0, isAwaited: true, copy: null, copyEndedMs: 0 };
  return { ordinal, node, address, ...windows, ...never };
}

/** Ours, of the family that peers have. */
export function ownAddress(own: SyncPeer['underlay'], peers: Iterable<PeerState>): string | undefined {
  for (const { address } of peers) return isIPv6(address) ? own.v6 : own.v4;
  return undefined;
}

// What main thread and packet worker say to each other. Nothing here is on the way of a forwarded packet: images and counters go through
// the shared memory; messages open ports, steer destinations, carry probes out and their answers in.
import { type LinearMemory, type MemoryPlan, type ProbePacket } from '@openclb/core-wasm';
import { type LookFilter } from '@openclb/model';
import { type TappedPacket } from './capture/tap.ts';
import { type PortKindName } from './port/port.ts';

export type WorkerRole = 'director' | 'endpoint';

/** What a worker is started with. */
export interface WorkerStart {
  readonly role: WorkerRole;
  readonly worker: number;
  readonly memory: LinearMemory;
  readonly plan: MemoryPlan;
}

/** The part of PortOptions that can be sent to another thread. */
export interface PortRequest {
  readonly index: number;
  readonly kind: PortKindName | 'auto';
  readonly device: string;
  readonly netns?: string;
  readonly mode?: 'auto' | 'native' | 'skb';
  readonly steered?: boolean;
  readonly silence?: boolean;
  readonly keepOffloads?: boolean;
  readonly mtu?: number;
  readonly layer?: 2 | 3;
}

export interface PortInfo {
  readonly index: number;
  readonly kind: PortKindName;
  readonly device: string;
  readonly layer: 2 | 3;
  readonly mac: Uint8Array | null;
  readonly mtu: number;
  readonly detail: string;
  readonly refused: ReadonlyArray<{ readonly kind: PortKindName; readonly why: string }>;
}

/** A prefix in the 16-byte form with its bits, and Steer bits; protocols 0 means: give it back to the kernel. */
export interface SteerRow {
  readonly prefix: Uint8Array;
  readonly bits: number;
  readonly protocols: number;
}

export type ToWorker =
  | { readonly type: 'open'; readonly port: PortRequest }
  | { readonly type: 'closePort'; readonly index: number }
  | { readonly type: 'steer'; readonly index: number; readonly rows: readonly SteerRow[] }
  | { readonly type: 'probe'; readonly probes: readonly SlottedProbe[] }
  /** Frames that arrive on a memory port. */
  | { readonly type: 'frames'; readonly index: number; readonly frames: readonly Uint8Array[] }
  /** What the heartbeat answers from now on (HeartbeatStatus). */
  | { readonly type: 'status'; readonly status: number }
  /** Makes the worker trap, as a bug in it would: tests of the supervisor. */
  | { readonly type: 'trap' }
  /** Copy packets that match; null: none any more. */
  | { readonly type: 'tap'; readonly filter: LookFilter | null }
  | { readonly type: 'stop' };

/** A probe for the target in a slot of the tables, by that target's own tunnel. */
export interface SlottedProbe extends ProbePacket {
  readonly targetSlot: number;
}

/** A packet that the core handed over, from its IP header on, with what its record says. */
export interface PuntedPacket {
  readonly reason: number;
  readonly net: number;
  readonly portIn: number;
  /** From the current (inner) IP header on. */
  readonly packet: Uint8Array;
}

export type FromWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'opened'; readonly port: PortInfo }
  | { readonly type: 'notOpened'; readonly index: number; readonly reason: string }
  | { readonly type: 'steerFailed'; readonly index: number; readonly reason: string }
  | { readonly type: 'punted'; readonly packets: readonly PuntedPacket[] }
  /** Frames that left through a memory port. */
  | { readonly type: 'sent'; readonly index: number; readonly frames: readonly Uint8Array[] }
  | { readonly type: 'statistics'; readonly index: number; readonly values: Readonly<Record<string, number>> }
  /** What the worker counts itself, outside the core. */
  | { readonly type: 'counters'; readonly values: Readonly<Record<string, number>> }
  /** Packets that a tap copied, and how many more it had no room for. */
  | { readonly type: 'tapped'; readonly packets: readonly TappedPacket[]; readonly missed: number }
  | { readonly type: 'stopped' };

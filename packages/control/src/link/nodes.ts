// What the controller knows about nodes from the link: leases, what they applied and refused (control-plane.md B4, B9). In memory only.
import type { FromNode, Generation } from '@openclb/model';

export interface NodeState {
  heardAtMs: number;
  /** When the last stream ended; undefined while one is open. */
  goneAtMs: number | undefined;
  connected: boolean;
  port: string | null;
  draining: boolean;
  applied: Generation | null;
  hash: string | null;
  refused: { generation: Generation; reason: string } | null;
}

export interface NodeTable {
  /** The state of a node; made at the first mention. */
  of(id: string): NodeState;
  /** Takes what a node says about itself. */
  hear(id: string, message: FromNode): void;
  opened(id: string): void;
  closed(id: string): void;
  /** Its lease runs, and it is connected or has only just lost its stream: a node reconnects within 2 s. */
  isLive(id: string): boolean;
  forget(keep: ReadonlySet<string>): void;
}

/** Longer than the longest pause between two attempts of a node to connect. */
const RECONNECT_GRACE_MS = 3_000;

export function nodeTable(nowMs: () => number, leaseMs: number): NodeTable {
  const states = new Map<string, NodeState>();
  const of = (id: string): NodeState => {
    const known = states.get(id);
    if (known) return known;
    const fresh: NodeState = {
      heardAtMs: Number.NEGATIVE_INFINITY,
      goneAtMs: undefined,
      connected: false,
      port: null,
      draining: false,
      applied: null,
      hash: null,
      refused: null,
    };
    states.set(id, fresh);
    return fresh;
  };
  return {
    of,
    hear(id, message) {
      const state = of(id);
      state.heardAtMs = nowMs();
      if (message.type === 'alive') {
        state.port = message.port ?? state.port;
        state.draining = message.draining ?? false;
        state.applied = message.applied;
        state.hash = message.hash;
      } else if (message.type === 'applied') {
        if (state.applied && compareGenerations(message.generation, state.applied) < 0) return;
        state.applied = message.generation;
        state.hash = message.hash;
        if (state.refused && compareGenerations(state.refused.generation, message.generation) <= 0)
          state.refused = null;
      } else if (message.type === 'drained') {
        state.draining = message.answer.draining;
      } else if (message.type === 'refused') {
        state.refused = { generation: message.generation, reason: message.reason.slice(0, 1000) };
      }
    },
    opened(id) {
      const state = of(id);
      state.connected = true;
      state.goneAtMs = undefined;
      state.heardAtMs = nowMs();
    },
    closed(id) {
      const state = of(id);
      state.connected = false;
      state.goneAtMs = nowMs();
    },
    isLive(id) {
      const state = states.get(id);
      if (!state || nowMs() - state.heardAtMs > leaseMs) return false;
      return state.connected || nowMs() - (state.goneAtMs ?? state.heardAtMs) <= RECONNECT_GRACE_MS;
    },
    forget(keep) {
      for (const id of states.keys()) if (!keep.has(id)) states.delete(id);
    },
  };
}

/** Negative, zero or positive as `a` is older than, equal to or newer than `b`. */
export function compareGenerations(a: Generation, b: Generation): number {
  return a.revision - b.revision || a.compiler - b.compiler;
}

// The controller as the routes see it: edits as transactions, and objects as they are shown. No HTTP here.
import { randomBytes } from 'node:crypto';
import {
  type Certificate,
  ClbError,
  type Eip,
  type Instance,
  type Listener,
  type LoadBalancer,
  type Node,
  type Rule,
  type TargetGroup,
  type Vpc,
} from '@openclb/model';
import { edit, openDraft } from './desired/draft.ts';
import { PREFIX, type StoredKind } from './desired/keys.ts';
import type { Mirror } from './desired/mirror.ts';
import type { DesiredState, Stored, StoredListener } from './desired/state.ts';
import type { Store } from './desired/store.ts';
import type { Edit } from './edit/context.ts';
import { keyOf } from './edit/remove.ts';
import type { Pools } from './options.ts';

export interface Shown {
  vpc: Vpc;
  node: Node;
  instance: Instance;
  certificate: Certificate;
  targetGroup: TargetGroup;
  loadBalancer: LoadBalancer;
  listener: Listener;
  eip: Eip;
}

export interface Controller {
  readonly mirror: Mirror;
  /** Runs an edit until its compare-and-set holds; the change is on its way to the nodes when this resolves. */
  run<T>(change: (edit: Edit) => T): Promise<{ readonly result: T; readonly revision: number }>;
  /** The state as an edit would leave it; nothing is stored. */
  preview(change: (edit: Edit) => unknown): DesiredState;
  /** Runs an edit that answers one object, and shows it. */
  save<K extends StoredKind>(kind: K, change: (edit: Edit) => Stored[K]): Promise<Shown[K]>;
  show<K extends StoredKind>(kind: K, id: string | number): Shown[K];
  list<K extends StoredKind>(kind: K): Shown[K][];
  listenerById(id: string): StoredListener;
  ruleById(id: string): { readonly listener: StoredListener; readonly rule: Rule };
}

export function makeController(
  store: Store,
  mirror: Mirror,
  pools: Pools,
  nowMs: () => number,
  isOneBox = false,
): Controller {
  const run: Controller['run'] = (change) =>
    edit(store, mirror, (draft) => change({ draft, pools, nowMs: nowMs(), isOneBox, freshId: () => freshId() }));
  const found = <K extends StoredKind>(kind: K, id: string | number): { value: Stored[K]; revision: number } => {
    const key = kind === 'listener' ? listenerKey(mirror, String(id)) : `${PREFIX[kind]}${id}`;
    const entry = key === undefined ? undefined : mirror.get(key);
    if (!entry) throw new ClbError('NotFound', { kind, id });
    return { value: entry.value as Stored[K], revision: entry.revision };
  };
  return {
    mirror,
    run,
    preview(change) {
      const draft = openDraft(mirror);
      change({ draft, pools, nowMs: nowMs(), isOneBox, freshId: () => freshId() });
      return draft.preview();
    },
    async save(kind, change) {
      const { result } = await run(change);
      const entry = mirror.get(keyOf(kind, result));
      return show(kind, result, entry?.revision ?? mirror.state.revision);
    },
    show(kind, id) {
      const { value, revision } = found(kind, id);
      return show(kind, value, revision);
    },
    list<K extends StoredKind>(kind: K) {
      return mirror.list(PREFIX[kind]).map(([, entry]) => show(kind, entry.value as Stored[K], entry.revision));
    },
    listenerById: (id) => found('listener', id).value,
    ruleById(id) {
      for (const [, { value, revision }] of mirror.list(PREFIX.listener)) {
        const listener = value as StoredListener;
        const rule = listener.rules?.find((candidate) => candidate.id === id);
        if (rule) return { listener, rule: { ...rule, revision } };
      }
      throw new ClbError('NotFound', { kind: 'rule', id });
    },
  };
}

/** The stored object with its revision, without what only the store knows and without secrets. */
function show<K extends StoredKind>(kind: K, value: Stored[K], revision: number): Shown[K] {
  const {
    rules: _rules,
    privateKey: _secret,
    order: _order,
    ...rest
  } = value as Stored[K] & { rules?: unknown; privateKey?: unknown; order?: unknown };
  void kind;
  return { ...rest, revision } as unknown as Shown[K];
}

/** Listeners are stored below their load balancer, and named by their id alone. */
function listenerKey(mirror: Mirror, id: string): string | undefined {
  return mirror.list(PREFIX.listener).find(([key]) => key.endsWith(`/${id}`))?.[0];
}

function freshId(): string {
  return BigInt(`0x${randomBytes(8).toString('hex')}`)
    .toString(36)
    .padStart(13, '0')
    .slice(-8);
}

// What the cluster looks like (walk 3, last step): who applied what, which load balancers are flagged, which revisions are on their way.
import { type Announcements, type NodeStatus, type Status, type Task, vipsToAnnounce } from '@openclb/model';
import type { Mirror } from './desired/mirror.ts';
import { compareGenerations } from './link/nodes.ts';
import type { Publisher } from './publish.ts';

export interface StatusBoard {
  status(): Status;
  /** Resolves when every live node applied the revision, or when the time is over. */
  wait(revision: number, timeoutMs: number): Promise<void>;
  announcements(): Announcements;
}

/** A revision that nobody moved towards for so long has failed (B9). */
const STALLED_MS = 30_000;
const TASKS_MAX = 64;
const TASK_KEPT_MS = 60_000;

export function statusBoard(mirror: Mirror, publisher: Publisher, nowMs: () => number): StatusBoard {
  const tasks = new Map<number, number>();
  mirror.onChange(() => {
    tasks.set(mirror.state.revision, nowMs());
    for (const [revision, since] of tasks)
      if (tasks.size > TASKS_MAX || nowMs() - since > TASK_KEPT_MS) tasks.delete(revision);
  });
  const nodeStatuses = (): NodeStatus[] => nodeStatusesOf(mirror, publisher);
  const isApplied = (revision: number): boolean => {
    if (publisher.compiled().generation.revision < revision) return false;
    return nodeStatuses().every(({ live, applied }) => !live || (applied?.revision ?? -1) >= revision);
  };
  const taskOf = (revision: number, since: number, nodes: readonly NodeStatus[]): Task => {
    const waitingFor = nodes.filter(({ live, applied }) => live && (applied?.revision ?? -1) < revision);
    const refusal = waitingFor.find(({ refused }) => refused && refused.generation.revision >= revision);
    const isStalled = nowMs() - since > STALLED_MS;
    const state = waitingFor.length === 0 ? 'succeeded' : refusal || isStalled ? 'failed' : 'running';
    const stalled = isStalled && waitingFor.length > 0 ? 'no progress for 30 s' : null;
    return {
      revision,
      state,
      waitingFor: waitingFor.map(({ id }) => id),
      excluded: nodes.filter(({ live }) => !live).map(({ id }) => id),
      reason: refusal ? `${refusal.id}: ${refusal.refused?.reason ?? ''}` : stalled,
    };
  };
  return {
    status() {
      const compiled = publisher.compiled();
      const nodes = nodeStatuses();
      const warnings = [...compiled.warnings];
      if (!nodes.some(({ live }) => live)) warnings.push('no node is live: changes are stored and nobody serves them');
      return {
        revision: mirror.state.revision,
        generation: compiled.generation,
        applied: isApplied(mirror.state.revision),
        nodes,
        loadBalancers: [...compiled.loadBalancers],
        tasks: [...tasks].map(([revision, since]) => taskOf(revision, since, nodes)),
        warnings,
      };
    },
    wait(revision, timeoutMs) {
      if (isApplied(revision)) return Promise.resolve();
      return new Promise((resolve) => {
        const finish = (): void => {
          clearTimeout(timer);
          stop();
          resolve();
        };
        const stop = publisher.onProgress(() => isApplied(revision) && finish());
        const timer = setTimeout(finish, timeoutMs);
      });
    },
    announcements: () => announcementsOf(mirror, publisher),
  };
}

function nodeStatusesOf(mirror: Mirror, publisher: Publisher): NodeStatus[] {
  const wanted = publisher.compiled().generation;
  return [...mirror.state.node.values()]
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map(({ id, role }) => {
      const { connected, port, draining, applied, refused } = publisher.nodes.of(id);
      const isAhead = applied !== null && compareGenerations(applied, wanted) > 0;
      const alarms = isAhead
        ? [`applied revision ${applied.revision}, this controller is at ${wanted.revision}: was its store restored?`]
        : [];
      const live = publisher.nodes.isLive(id);
      return { id, role, live, connected, port, draining, applied, wanted, refused, alarms };
    });
}

function announcementsOf(mirror: Mirror, publisher: Publisher): Announcements {
  const { state } = mirror;
  const directors = [...state.node.values()]
    .filter(({ role }) => role === 'director')
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  const image = directors[0] && publisher.compiled().images.get(directors[0].id);
  const addresses: Announcements['addresses'] = [];
  if (image?.role === 'director') {
    for (const address of vipsToAnnounce(image)) addresses.push({ address, kind: 'vip' });
    for (const { eip } of image.eips) addresses.push({ address: eip, kind: 'eip' });
    for (const address of [image.anycast.v4, image.anycast.v6])
      if (address !== undefined) addresses.push({ address, kind: 'anycast' });
  }
  return {
    revision: publisher.compiled().generation.revision,
    directors: directors.map(({ id, underlay, tunnels, probe }) => ({
      id,
      live: publisher.nodes.isLive(id),
      underlay,
      tunnels,
      probe,
    })),
    addresses,
  };
}

// What an endpoint wants to know of its kernel while it runs: the uplink's routes (P14), and devices of VMs that go and come back.
import { type KernelRoute, openKernelTables } from './netlink/kernel-tables.ts';

const SETTLE_MS = 50;

export interface KernelWatch {
  /** Unicast routes of the main table, longest prefix first. */
  routes(): readonly KernelRoute[];
  /** Index of a device, or null when there is none of that name. A device that was made again has another one. */
  indexOf(device: string): number | null;
  close(): void;
}

/** Both listeners are called once for changes that arrive together. */
export function watchKernel(listeners: { onRoutes(): void; onLinks(): void }): KernelWatch {
  const kernel = openKernelTables();
  const pending = new Set<string>();
  let timer: NodeJS.Timeout | null = null;

  function settle(): void {
    timer = null;
    const kinds = new Set(pending);
    pending.clear();
    if (kinds.has('link')) listeners.onLinks();
    if (kinds.has('route')) listeners.onRoutes();
  }

  kernel.onChange((kinds) => {
    for (const kind of kinds) if (kind === 'link' || kind === 'route') pending.add(kind);
    if (pending.size > 0) timer ??= setTimeout(settle, SETTLE_MS);
  });
  return {
    routes: kernel.routes,
    indexOf: (device) => [...kernel.links.values()].find(({ name }) => name === device)?.index ?? null,
    close() {
      if (timer !== null) clearTimeout(timer);
      kernel.close();
    },
  };
}

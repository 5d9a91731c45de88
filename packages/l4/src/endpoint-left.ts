// VMs that an image has taken away from this host (data-plane.md P7.6). For a minute their addresses stay known, so that what is still
// on its way to them is sent after them. Kept in memory alone: an endpoint that restarts meanwhile drops those packets.
import { type EndpointEntry } from '@openclb/core-wasm';
import { endpointLimits } from '@openclb/core-wasm/layout';
import { type EndpointImage, address, toBytes16 } from '@openclb/model';
import { clock } from './clock.ts';

export interface LeftVms {
  /** The rows of the VMs that have left, this image's departures included. */
  update(image: EndpointImage): EndpointEntry[];
}

interface Left {
  readonly net: number;
  readonly address: string;
  readonly atMs: number;
}

export function createLeftVms(now: () => number = clock): LeftVms {
  let here = new Map<string, Omit<Left, 'atMs'>>();
  const left = new Map<string, Left>();
  return {
    update({ vms }) {
      const atMs = now();
      const next = new Map(
        vms.flatMap(({ net, addresses }) => addresses.map((text) => [`${net}/${text}`, { net, address: text }])),
      );
      for (const [key, vm] of here) if (!next.has(key)) left.set(key, { ...vm, atMs });
      for (const [key, vm] of left) {
        if (next.has(key) || (atMs - vm.atMs) >>> 0 > endpointLimits.LEFT_MS) left.delete(key);
      }
      here = next;
      return [...left.values()].map((vm) => ({
        kind: 'Left',
        net: vm.net,
        address: toBytes16(address(vm.address)),
        link: vm.atMs,
      }));
    },
  };
}

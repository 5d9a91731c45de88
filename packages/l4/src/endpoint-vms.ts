// The ports of an endpoint's VMs: one packet port a device, opened when an image names it and closed when none does any more (P7.7).
// A device that is not there yet does not hold an image up: its VM is left out, and it is looked for again.
import { promises } from 'node:fs';
import { type VmRow } from '@openclb/model';
import { type DataPath } from './data-path.ts';
import { type Log, messageOf } from './log.ts';

const RETRY_MS = 1_000;

export interface VmPorts {
  /** Opens and closes ports; resolves with device → port index of those that are open. */
  sync(vms: readonly VmRow[]): Promise<ReadonlyMap<string, number>>;
  /** Looks whether devices have gone or were made again, and closes their ports; `onRetry` follows. */
  check(): void;
  /** Devices named by the image that could not be opened, and why. */
  missing(): ReadonlyMap<string, string>;
  close(): void;
}

export interface VmPortsOptions {
  readonly path: DataPath;
  /** First index for a VM, and one more than the last. */
  readonly from: number;
  readonly to: number;
  readonly log: Log;
  indexOf(device: string): number | null;
  /** A device that was missing may be there now: apply the image again. */
  onRetry(): void;
}

export function createVmPorts(options: VmPortsOptions): VmPorts {
  const { path, log, from, to } = options;
  const ports = new Map<string, number>();
  const deviceIndexes = new Map<string, number | null>();
  const missing = new Map<string, string>();
  let timer: NodeJS.Timeout | null = null;

  function freeIndex(): number {
    const used = new Set(ports.values());
    for (let index = from; index < to; index++) if (!used.has(index)) return index;
    throw new Error(`no more than ${to - from} VMs fit on this endpoint`);
  }

  async function open(device: string): Promise<void> {
    try {
      await isolate(device);
      const index = freeIndex();
      ports.set(device, index);
      deviceIndexes.set(device, options.indexOf(device));
      await path.openPort({ index, kind: 'packet', device });
      if (missing.delete(device)) log.info({ device }, 'the device of a VM is there now');
    } catch (error) {
      ports.delete(device);
      if (!missing.has(device))
        log.warn({ device, reason: messageOf(error) }, 'a VM is left out until its device is there');
      missing.set(device, messageOf(error));
    }
  }

  function retryLater(): void {
    if (missing.size === 0 || timer !== null) return;
    timer = setTimeout(() => {
      timer = null;
      options.onRetry();
    }, RETRY_MS);
    timer.unref();
  }

  function lose(device: string, reason: string): void {
    path.closePort(ports.get(device)!);
    ports.delete(device);
    log.warn({ device, reason }, 'a VM is left out until its device is there again');
    missing.set(device, reason);
  }

  return {
    missing: () => missing,
    check() {
      for (const device of ports.keys()) {
        if (options.indexOf(device) !== deviceIndexes.get(device)) lose(device, 'the device was removed');
      }
      retryLater();
    },
    async sync(vms) {
      const wanted = new Set(vms.map((vm) => vm.device));
      for (const [device, index] of ports) {
        if (wanted.has(device)) continue;
        path.closePort(index);
        ports.delete(device);
      }
      for (const device of missing.keys()) if (!wanted.has(device)) missing.delete(device);
      for (const device of wanted) if (!ports.has(device)) await open(device);
      retryLater();
      return ports;
    },
    close() {
      if (timer !== null) clearTimeout(timer);
      for (const index of ports.values()) path.closePort(index);
      ports.clear();
    },
  };
}

/**
 * The host's own kernel must not hear a tenant: no ARP for host addresses, no IPv6 on this device, and no IPv4 either, because the way
 * back to a VM's address never leads through this device (RFC 3704, strict).
 */
async function isolate(device: string): Promise<void> {
  await promises.writeFile(`/proc/sys/net/ipv4/conf/${device}/arp_ignore`, '8').catch(() => undefined);
  await promises.writeFile(`/proc/sys/net/ipv4/conf/${device}/rp_filter`, '1').catch(() => undefined);
  await promises.writeFile(`/proc/sys/net/ipv6/conf/${device}/disable_ipv6`, '1').catch(() => undefined);
}

// Where a client-side balancer gets its targets from: a list, DNS, or the controller. Each source tells the whole list anew.
import net from 'node:net';
import type { CheckSpec } from '@openclb/model';

export interface ServiceTarget {
  /** IPv4 or IPv6 address. */
  readonly address: string;
  readonly port: number;
  /** Share of new requests, 0 to 100; 0 drains. */
  readonly weight: number;
}

/** What a source knows at one time. */
export interface ServiceSnapshot {
  readonly targets: readonly ServiceTarget[];
  /** A source that knows how its targets are checked says so; what the user says comes first. */
  readonly check?: CheckSpec;
}

export interface SourceEvents {
  targets(snapshot: ServiceSnapshot): void;
  /** The last snapshot stays in use, and the source tries again by itself. */
  failed(error: Error): void;
}

export interface TargetSource {
  readonly name: string;
  /** Begins to watch; resolves after the first snapshot, rejects when there is none. Calls back until `close`. */
  start(events: SourceEvents): Promise<void>;
  close(): void;
}

/** One balancer holds no more; a source that knows more is refused as a whole. */
export const SERVICE_TARGETS_MAX = 4096;

export interface ListedTarget {
  /** `10.0.0.1:8080` or `[2001:db8::1]:8080`. */
  readonly address: string;
  readonly weight?: number;
}

/** A list that never changes. Throws a TypeError that names the entry which is no address with a port. */
export function listed(targets: readonly (string | ListedTarget)[]): TargetSource {
  const rows = targets.map((entry) => {
    const { address, weight = 1 } = typeof entry === 'string' ? { address: entry } : entry;
    if (!Number.isInteger(weight) || weight < 0 || weight > 100)
      throw new TypeError(`${address}: weight ${weight} is no whole number from 0 to 100`);
    return { ...parseTarget(address), weight };
  });
  if (rows.length === 0) throw new TypeError('a list of targets needs at least one, as in 10.0.0.1:8080');
  return {
    name: 'list',
    start: async (events) => events.targets({ targets: rows }),
    close: () => {},
  };
}

export function parseTarget(text: string): { address: string; port: number } {
  const match = /^\[([^\]]+)\]:(\d{1,5})$/.exec(text) ?? /^([\d.]+):(\d{1,5})$/.exec(text);
  const address = match?.[1] ?? '';
  const port = Number(match?.[2] ?? 0);
  if (net.isIP(address) === 0 || port < 1 || port > 65_535)
    throw new TypeError(`${text} is no target: write 10.0.0.1:8080 or [2001:db8::1]:8080; names are for dns`);
  return { address, port };
}

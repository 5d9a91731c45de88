// What relay listeners share with the rest of the proxy.
import type { MysqlRouter } from '@openclb/model';
import type { Counters } from '../counters.ts';
import type { Limits } from '../limits.ts';
import type { Target } from '../upstream.ts';
import type { Wheel } from '../wheel.ts';
import type { Greetings } from './mysql/login.ts';
import type { ProxyProtocol } from './proxy-protocol.ts';

export interface RelayContext {
  readonly limits: Limits;
  readonly wheel: Wheel;
  readonly counters: Counters;
  /** For listeners that say nothing themselves. */
  readonly proxyProtocol: ProxyProtocol;
  readonly count: (code: string) => void;
  /** A target refused or did not answer, for passive health checks. */
  readonly onTargetFailure: (target: Target) => void;
  readonly connectionLog: ((record: ConnectionRecord) => void) | null;
  readonly mysqlRouters: readonly MysqlRouter[];
  readonly greetings: Greetings;
}

/** One relayed connection or UDP session, written when it is over. */
export interface ConnectionRecord {
  /** Milliseconds since the epoch at which it began. */
  readonly time: number;
  readonly listener: string;
  readonly protocol: 'tcp' | 'tcp-ssl' | 'udp';
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly vip: string;
  readonly vport: number;
  /** Empty when no target took it. */
  readonly upstreamAddress: string;
  readonly attempts: number;
  /** From the client, and to it. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationMs: number;
  /** Why it came to nothing or was cut off; empty after a proper end. */
  readonly failure: string;
}

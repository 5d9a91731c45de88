// What the threads of one proxy tell each other. Everything here survives a structured clone.
import type { ConnectionRecord } from '../relay/context.ts';
import type { ProxyImage } from '@openclb/model';
import type { Limits } from '../limits.ts';
import type { AccessRecord } from '../log/record.ts';
import type { BindMode } from '../listener.ts';
import type { ProxyProtocol } from '../relay/proxy-protocol.ts';
import type { CertificatePair } from '../tls/certificates.ts';

/** A module with an export `setup(data)` that gives each worker what cannot be sent to it: filters, schedulers, TLS providers. */
export interface WorkerModule {
  readonly url: string;
  readonly data?: unknown;
}

export interface WorkerStart {
  readonly worker: number;
  readonly workers: number;
  readonly rates: SharedArrayBuffer;
  readonly counts: SharedArrayBuffer;
  readonly pages: SharedArrayBuffer;
  readonly module: WorkerModule | null;
  readonly logs: boolean;
  readonly logsConnections: boolean;
  readonly options: {
    readonly bind: BindMode;
    readonly limits: Partial<Limits>;
    readonly stickinessKey: Uint8Array;
    readonly ticketSecret: Uint8Array;
    readonly ticketPeriodMs?: number;
    readonly proxyProtocol?: ProxyProtocol;
  };
}

/** Verdicts, and workers that have ejected it, by member in the order of the image. */
export interface ImageState {
  readonly verdicts: SharedArrayBuffer;
  readonly resting: SharedArrayBuffer;
}

export type ToWorker =
  | { readonly type: 'apply'; readonly serial: number; readonly image: ProxyImage; readonly state: ImageState }
  | { readonly type: 'health' }
  | { readonly type: 'tickets'; readonly secret: Uint8Array }
  | { readonly type: 'certificate'; readonly ask: number; readonly pair?: CertificatePair; readonly error?: string }
  | { readonly type: 'close' };

export type FromWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'applied'; readonly serial: number; readonly addresses: { address: string; port: number }[] }
  | { readonly type: 'refused'; readonly serial: number; readonly code?: string; readonly message: string }
  | { readonly type: 'certificate'; readonly ask: number; readonly id: string }
  | { readonly type: 'log'; readonly records: readonly AccessRecord[] }
  | { readonly type: 'connections'; readonly records: readonly ConnectionRecord[] }
  | { readonly type: 'error'; readonly source: string; readonly message: string }
  | { readonly type: 'closed' };

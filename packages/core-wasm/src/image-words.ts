// The words of an image as the numbers of the core.
import { Encapsulation, Handshake, OnRemove, OnUnknown, Scheduler, Translation } from '../layout/index.ts';
import type { ListenerInput } from './image-input.ts';

export const TRANSLATION = { none: Translation.None, dnat: Translation.Dnat, fullnat: Translation.FullNat } as const;
export const SCHEDULER = {
  maglev: Scheduler.Maglev,
  wrr: Scheduler.Wrr,
  'ip-hash': Scheduler.SourceHash,
  'least-connections': Scheduler.LeastConnections,
} as const;
export const ON_REMOVE = { run: OnRemove.Run, reset: OnRemove.Reset, reschedule: OnRemove.Reschedule } as const;
export const ON_UNKNOWN = { reset: OnUnknown.Reset, drop: OnUnknown.Drop } as const;
export const ENCAPSULATION = {
  none: Encapsulation.None,
  l2: Encapsulation.L2,
  ipip: Encapsulation.Ipip,
  gre: Encapsulation.Gre,
} as const;

const SYN_PROXY = { off: Handshake.Target, on: Handshake.Director, auto: Handshake.Auto } as const;

export const handshakeOf = ({ synProxy, domains }: ListenerInput): number =>
  domains !== undefined && domains.length > 0 ? Handshake.Domain : SYN_PROXY[synProxy ?? 'off'];

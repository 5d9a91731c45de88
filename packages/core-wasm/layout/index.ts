// The layout of the shared memory: records, enumerations, limits. Add a record to RECORDS and it is generated, checked and documented.
import { AccessNode, AccessRule } from './access.ts';
import { BindingListener, BindingState, PendingRow, bindingLimits } from './binding.ts';
import {
  EndpointBank,
  EndpointPort,
  EndpointRow,
  EndpointState,
  EndpointTunnel,
  ReturnEntry,
  endpointLimits,
} from './endpoint.ts';
import { ENUMS } from './enums.ts';
import { FragmentEntry, FragmentHold, FragmentSource, FragmentState } from './fragment.ts';
import { LIMITS } from './limits.ts';
import { Bucket, BucketSetting, CookieState, Meter, Segment, TcpView, meterLimits } from './meters.ts';
import {
  Nat64Binding,
  Nat64Eam,
  Nat64Ends,
  Nat64Fragment,
  Nat64HeldSyn,
  Nat64Reassembly,
  Nat64Session,
  Nat64State,
  Nat64Subscriber,
  Nat64Tables,
  Nat64View,
  nat64Limits,
} from './nat64.ts';
import { PacketRecord } from './packet.ts';
import { PortKind, PortState, portLimits } from './port.ts';
import { AskRow, PeerRow, StandbyRow, StandbyState, syncLimits } from './sync.ts';
import * as records from './records.ts';
import type { Field, Layout } from './record.ts';

export * from './access.ts';
export * from './binding.ts';
export * from './endpoint.ts';
export * from './enumeration.ts';
export * from './enums.ts';
export * from './fragment.ts';
export * from './limits.ts';
export * from './meters.ts';
export * from './nat64.ts';
export * from './packet.ts';
export * from './port.ts';
export * from './record.ts';
export * from './records.ts';
export * from './sync.ts';

/** Every record, in the order of the reference page. */
export const RECORDS: readonly Layout<Record<string, Field>>[] = [
  PacketRecord,
  // Sorted, because a bundler lists a namespace in another order than Node, and the hash must not notice.
  ...Object.values(records).toSorted((a, b) => (a.name < b.name ? -1 : 1)),
  PortState,
  FragmentState,
  FragmentEntry,
  FragmentHold,
  FragmentSource,
  EndpointBank,
  EndpointPort,
  EndpointTunnel,
  EndpointRow,
  EndpointState,
  ReturnEntry,
  Nat64State,
  Nat64View,
  Nat64Ends,
  Nat64Eam,
  Nat64Tables,
  Nat64Binding,
  Nat64Session,
  Nat64Fragment,
  Nat64HeldSyn,
  Nat64Subscriber,
  Nat64Reassembly,
  Meter,
  Bucket,
  BucketSetting,
  CookieState,
  TcpView,
  Segment,
  StandbyState,
  StandbyRow,
  PeerRow,
  AskRow,
  AccessNode,
  AccessRule,
  BindingState,
  PendingRow,
  BindingListener,
];

/** Named constants beside the limits that AssemblyScript gets as well. */
export const CONSTANTS: Readonly<Record<string, number>> = {
  ...portLimits,
  ...endpointLimits,
  ...nat64Limits,
  ...meterLimits,
  ...syncLimits,
  ...bindingLimits,
};

/** Plain enumerations that AssemblyScript gets as well. */
export const PLAIN_ENUMS: Readonly<Record<string, Readonly<Record<string, number>>>> = { PortKind };

/** Changes with every number that both sides must agree on (FNV-1a over all of them); compared when a core opens a memory. */
export const LAYOUT_HASH: number = fnv1a(
  JSON.stringify([
    RECORDS.map((record) => [
      record.name,
      record.bytes,
      Object.entries(record.fields).map(([name, [type]]) => [name, type]),
    ]),
    ENUMS.map((definition) => [
      definition.name,
      Object.entries(definition.members).map(([name, [value]]) => [name, value]),
    ]),
    Object.entries(LIMITS).map(([name, [value]]) => [name, value]),
    Object.entries(CONSTANTS),
    Object.entries(PLAIN_ENUMS),
  ]),
);

function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}

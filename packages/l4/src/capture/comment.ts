// What the walk found out about a packet, as one line for a packet comment (pcapng option opt_comment): key=value, spaces between.
import { type ExplainNames, formatAddress } from '@openclb/core-wasm';
import {
  PacketFlag,
  PacketRecord,
  directionEnum,
  flowStateEnum,
  limits,
  nameOf,
  reasonEnum,
  verdictEnum,
} from '@openclb/core-wasm/layout';
import { type TappedPacket } from './tap.ts';

const { at } = PacketRecord;
/** Flags that an operator asks about; those of ports say nothing here. */
const TOLD = ['NewFlow', 'PickedUp', 'FromTunnel', 'Generated', 'Clamped', 'Encapsulated', 'FromPeer'] as const;

export function commentOf({ record, flowState }: TappedPacket, names: ExplainNames): string {
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  const slot = (field: 'listenerSlot' | 'targetSlot' | 'hostSlot' | 'flowSlot'): number | null => {
    const value = view.getUint32(at[field], true);
    return value === limits.NONE ? null : value;
  };
  const flags = view.getUint16(at.flags, true);
  const parts: (readonly [string, string | number | null | undefined])[] = [
    ['verdict', nameOf(verdictEnum, view.getUint8(at.verdict)).toLowerCase()],
    ['reason', nameOf(reasonEnum, view.getUint8(at.reason))],
    ['walk', nameOf(directionEnum, view.getUint8(at.direction))],
    ['net', view.getUint32(at.net, true)],
    ['listener', named(slot('listenerSlot'), names.listener)],
    ['target', named(slot('targetSlot'), names.target)],
    ['host', named(slot('hostSlot'), names.host)],
    ['flow', slot('flowSlot')],
    ['state', flowState < 0 ? null : nameOf(flowStateEnum, flowState)],
    ['tunnel', tunnelOf(record, view, flags)],
    ['flags', TOLD.filter((name) => (flags & PacketFlag[name]) !== 0).join(',') || null],
  ];
  return parts
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ');
}

function named(slot: number | null, nameOfSlot: ((slot: number) => string | undefined) | undefined): string | null {
  return slot === null ? null : JSON.stringify(nameOfSlot?.(slot) ?? String(slot));
}

function tunnelOf(record: Uint8Array, view: DataView, flags: number): string | null {
  if ((flags & (PacketFlag.FromTunnel | PacketFlag.Encapsulated)) === 0) return null;
  const text = (offset: number): string => formatAddress(record.subarray(offset, offset + 16));
  return `${text(at.outerSource)}>${text(at.outerDestination)}/${view.getUint32(at.tunnelKey, true)}`;
}

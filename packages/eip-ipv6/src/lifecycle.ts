// The life of an EIP: allocate → UNBIND → bind → BIND → unbind → UNBIND → release (tencent-cloud.md D-P0). Pure.
// A step that the state does not permit is refused with a code; nothing is ever half done.
import { ClbError, type Eip, type EipBinding } from '@openclb/model';

/** An EIP as it is stored; the revision belongs to the store. */
export type EipRecord = Omit<Eip, 'revision'>;

export function allocateEip(id: string, name: string, address: string): EipRecord {
  return { id, name, address, state: 'UNBIND' };
}

/** Only from UNBIND. Binding again to what it is bound to already is refused as well, as Tencent does. */
export function bindEip(eip: EipRecord, binding: EipBinding): EipRecord {
  if (eip.state !== 'UNBIND') throw new ClbError('EipAlreadyBound', { id: eip.id, binding: describeBinding(eip) });
  return { ...eip, state: binding.instance === undefined ? 'BIND_ENI' : 'BIND', binding };
}

export function unbindEip(eip: EipRecord): EipRecord {
  if (eip.binding === undefined) throw new ClbError('EipNotBound', { id: eip.id });
  const { binding: _released, ...rest } = eip;
  return { ...rest, state: 'UNBIND' };
}

/** Only from UNBIND; irreversible. The caller then frees the address. */
export function releaseEip(eip: EipRecord): void {
  if (eip.state !== 'UNBIND') throw new ClbError('EipBound', { id: eip.id, binding: describeBinding(eip) });
}

export function describeBinding(eip: Pick<EipRecord, 'binding'>): string {
  const { binding } = eip;
  if (binding === undefined) return 'nothing';
  return binding.instance ?? `${binding.address} of VPC ${binding.vpc}`;
}

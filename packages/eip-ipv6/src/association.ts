// What an EIP may be bound to: an instance (one of its addresses) or an address of a VPC, of the same family (P28: 1:1 translation).
import { address, canonicalAddress, ClbError, type EipBinding, type EipBindInput } from '@openclb/model';

/** What the resolver needs to know about the world. */
export interface AssociationView {
  instance(
    id: string,
  ): { readonly id: string; readonly vpcId: number; readonly addresses: readonly string[] } | undefined;
  /** The instance that owns an address of a VPC, if any does. */
  instanceAt(vpc: number, address: string): string | undefined;
  hasVpc(id: number): boolean;
}

export function resolveBinding(eipAddress: string, input: EipBindInput, view: AssociationView): EipBinding {
  const { family } = address(eipAddress);
  const wanted = input.address === undefined ? undefined : canonicalAddress(input.address);
  if (input.address !== undefined && wanted === undefined) {
    throw new ClbError('BadAddress', { field: '/address', value: input.address });
  }
  if (wanted !== undefined && address(wanted).family !== family) {
    throw new ClbError('BadCombination', { field: '/address', rule: `must be IPv${family}, as the EIP is` });
  }
  if (input.instance !== undefined) {
    if (input.vpc !== undefined)
      throw new ClbError('BadCombination', { field: '/vpc', rule: 'follows from the instance' });
    return bindingOfInstance(input.instance, wanted, family, view);
  }
  if (input.vpc === undefined || wanted === undefined) {
    throw new ClbError('BadCombination', {
      field: input.vpc === undefined ? '/vpc' : '/address',
      rule: 'is required without instance',
    });
  }
  if (!view.hasVpc(input.vpc)) throw new ClbError('BadReference', { field: '/vpc', value: input.vpc });
  const instance = view.instanceAt(input.vpc, wanted);
  if (instance === undefined) {
    throw new ClbError(
      'BadReference',
      { field: '/address', value: `${wanted} of VPC ${input.vpc}` },
      'Register the instance that has this address first.',
    );
  }
  return { vpc: input.vpc, address: wanted };
}

function bindingOfInstance(id: string, wanted: string | undefined, family: 4 | 6, view: AssociationView): EipBinding {
  const instance = view.instance(id);
  if (!instance) throw new ClbError('BadReference', { field: '/instance', value: id });
  const chosen = wanted ?? instance.addresses.find((text) => address(text).family === family);
  if (chosen === undefined)
    throw new ClbError('BadCombination', { field: '/instance', rule: `has no IPv${family} address` });
  if (!instance.addresses.includes(chosen))
    throw new ClbError('BadReference', { field: '/address', value: `${chosen} of ${id}` });
  return { vpc: instance.vpcId, address: chosen, instance: id };
}

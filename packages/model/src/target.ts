// A target in its five spellings (control-plane.md B1). Only `targetKind` knows the union; compile resolves every kind to one row.
import { type Static, Type } from 'typebox';
import { AddressText, closed, InstanceId, NodeId, Port, TargetId, VpcId } from './ids.ts';
import { LIMITS } from './limits.ts';

export const TARGET_DEFAULTS = { weight: 10 } as const;

const spelling = {
  instance: Type.Optional({ ...InstanceId, description: 'A VM: its first address in the family of the VIP' }),
  vpc: Type.Optional({ ...VpcId, description: 'With `address`: an address inside this VPC' }),
  address: Type.Optional({ ...AddressText, description: 'With `vpc`: the address inside the VPC' }),
  host: Type.Optional({
    ...NodeId,
    description: 'With `vpc` and `address` of no instance: the endpoint behind which the address lives',
  }),
  physical: Type.Optional({ ...AddressText, description: 'A physical server, by its underlay address' }),
  encapsulation: Type.Optional(
    Type.Enum(['ipip', 'none', 'l2'], {
      description:
        'With `physical`: how packets get there; ipip when absent, l2: unchanged to its link address (LVS-DR)',
    }),
  ),
};
const port = { ...Port, description: 'Port of the target' };
const weight = Type.Integer({
  minimum: 0,
  maximum: LIMITS.weightMax,
  default: TARGET_DEFAULTS.weight,
  description: 'Share of new flows; 0 drains',
});

export const TargetInput = Type.Object(
  { id: Type.Optional(TargetId), ...spelling, port, weight: Type.Optional(weight) },
  { ...closed, description: 'A target: one of `instance`, `vpc` + `address`, `physical`' },
);
export type TargetInput = Static<typeof TargetInput>;

export const Target = Type.Object(
  { id: TargetId, ...spelling, port, weight },
  { ...closed, description: 'A target of a group' },
);
export type Target = Static<typeof Target>;

export const TargetPatch = Type.Object({ weight }, { ...closed, description: 'What may change on a target' });
export type TargetPatch = Static<typeof TargetPatch>;

export type TargetKind =
  | { readonly kind: 'instance'; readonly instance: string }
  | { readonly kind: 'vpc'; readonly vpc: number; readonly address: string; readonly host?: string }
  | { readonly kind: 'physical'; readonly address: string; readonly encapsulation: 'ipip' | 'none' | 'l2' };

/** Which spelling a target uses, or the rule that it breaks. */
export function targetKind(
  target: TargetInput,
): TargetKind | { readonly kind: 'invalid'; readonly field: string; readonly rule: string } {
  const { instance, vpc, address, host, physical, encapsulation } = target;
  const named = [instance !== undefined, vpc !== undefined || address !== undefined, physical !== undefined].filter(
    Boolean,
  );
  if (named.length !== 1) {
    return { kind: 'invalid', field: '', rule: 'needs exactly one of instance, vpc with address, physical' };
  }
  if (physical !== undefined) {
    if (host !== undefined) return { kind: 'invalid', field: 'host', rule: 'is for targets inside a VPC' };
    return { kind: 'physical', address: physical, encapsulation: encapsulation ?? 'ipip' };
  }
  if (encapsulation !== undefined) return { kind: 'invalid', field: 'encapsulation', rule: 'is for physical targets' };
  if (instance !== undefined) {
    if (host !== undefined)
      return { kind: 'invalid', field: 'host', rule: 'follows from the placement of the instance' };
    return { kind: 'instance', instance };
  }
  if (vpc === undefined) return { kind: 'invalid', field: 'vpc', rule: 'is required with address' };
  if (address === undefined) return { kind: 'invalid', field: 'address', rule: 'is required with vpc' };
  return { kind: 'vpc', vpc, address, ...(host === undefined ? {} : { host }) };
}

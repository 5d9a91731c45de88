// Elastic IP addresses: public addresses that are bound to an address of a VPC and move freely (tencent-cloud.md D-P0 EIP; P28).
import { type Static, Type } from 'typebox';
import { AddressText, closed, EipId, InstanceId, Name, Revision, VpcId } from './ids.ts';

/** Tencent's states. The lifecycle here is synchronous, so only UNBIND and BIND are seen at rest. */
export const EipState = Type.Enum(['CREATING', 'BINDING', 'BIND', 'UNBINDING', 'UNBIND', 'OFFLINING', 'BIND_ENI'], {
  description: 'UNBIND: free. BIND: bound to an instance. BIND_ENI: bound to an address of a VPC',
});
export type EipState = Static<typeof EipState>;

export const EipBinding = Type.Object(
  { vpc: VpcId, address: AddressText, instance: Type.Optional(InstanceId) },
  { ...closed, description: 'What the EIP stands for' },
);
export type EipBinding = Static<typeof EipBinding>;

export const EipInput = Type.Object(
  {
    id: Type.Optional(EipId),
    name: Type.Optional(Name),
    address: Type.Optional({ ...AddressText, description: 'The address to take; allocated from the pool when absent' }),
    family: Type.Optional(
      Type.Enum(['v4', 'v6'], { default: 'v4', description: 'Family to allocate when no address is given' }),
    ),
  },
  { ...closed, description: 'An EIP to allocate' },
);
export type EipInput = Static<typeof EipInput>;

export const EipBindInput = Type.Object(
  {
    instance: Type.Optional({ ...InstanceId, description: 'Bind to this instance' }),
    vpc: Type.Optional({ ...VpcId, description: 'With `address`: bind to this address of a VPC' }),
    address: Type.Optional({
      ...AddressText,
      description: 'With `instance`: which of its addresses; the primary one when absent',
    }),
  },
  { ...closed, description: 'One of `instance` or `vpc` + `address`' },
);
export type EipBindInput = Static<typeof EipBindInput>;

export const Eip = Type.Object(
  {
    id: EipId,
    name: Name,
    address: AddressText,
    state: EipState,
    binding: Type.Optional(EipBinding),
    revision: Revision,
  },
  { ...closed, description: 'An elastic IP address' },
);
export type Eip = Static<typeof Eip>;

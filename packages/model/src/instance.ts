// Instances (VMs) and their placement: which endpoint delivers to them. Placement is desired state (control-plane.md B2).
import { type Static, Type } from 'typebox';
import { AddressText, closed, InstanceId, Name, NodeId, Revision, VpcId } from './ids.ts';
import { LIMITS } from './limits.ts';

const addresses = Type.Array(AddressText, {
  minItems: 1,
  maxItems: LIMITS.addressesPerInstanceMax,
  uniqueItems: true,
  description: 'Addresses inside the VPC, the primary one first',
});
const host = {
  ...NodeId,
  description: 'The endpoint on whose machine the instance runs; without it targets on the instance are left out',
};
const device = Type.String({
  pattern: '^[A-Za-z0-9_.-]{1,15}$',
  description: 'Name of the host-side network device of the instance',
});
const mac = Type.String({
  pattern: '^[0-9a-f]{2}(:[0-9a-f]{2}){5}$',
  description: 'MAC address of the instance, lower case',
});

const placement = { host: Type.Optional(host), device: Type.Optional(device), mac: Type.Optional(mac) };

export const InstanceInput = Type.Object(
  { id: Type.Optional(InstanceId), name: Type.Optional(Name), vpcId: VpcId, addresses, ...placement },
  { ...closed, description: 'An instance to register' },
);
export type InstanceInput = Static<typeof InstanceInput>;

export const InstancePatch = Type.Object(
  { name: Type.Optional(Name), addresses: Type.Optional(addresses), ...placement },
  { ...closed, description: 'What may change on an instance' },
);
export type InstancePatch = Static<typeof InstancePatch>;

export const Instance = Type.Object(
  { id: InstanceId, name: Name, vpcId: VpcId, addresses, ...placement, revision: Revision },
  { ...closed, description: 'An instance (VM) of a VPC' },
);
export type Instance = Static<typeof Instance>;

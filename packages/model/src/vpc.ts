// VPCs: tenant networks whose addresses may overlap. The id is the GRE key.
import { type Static, Type } from 'typebox';
import { CidrText, closed, Name, Revision, VpcId } from './ids.ts';
import { LIMITS } from './limits.ts';

const cidrs = Type.Array(CidrText, {
  maxItems: 16,
  uniqueItems: true,
  description: 'Address blocks of the VPC; none may touch the service range 100.64.0.0/10',
});

const sourceIndex = Type.Integer({
  minimum: 1,
  maximum: LIMITS.vpcsMax,
  description: "Which address of a proxy's source block stands for this VPC, allocated",
});

export const VpcInput = Type.Object(
  { id: VpcId, name: Type.Optional(Name), cidrs: Type.Optional(cidrs) },
  { ...closed, description: 'A VPC to create' },
);
export type VpcInput = Static<typeof VpcInput>;

export const VpcPatch = Type.Object(
  { name: Type.Optional(Name), cidrs: Type.Optional(cidrs) },
  { ...closed, description: 'What may change on a VPC' },
);
export type VpcPatch = Static<typeof VpcPatch>;

export const Vpc = Type.Object(
  { id: VpcId, name: Name, cidrs, sourceIndex, revision: Revision },
  { ...closed, description: 'A VPC' },
);
export type Vpc = Static<typeof Vpc>;

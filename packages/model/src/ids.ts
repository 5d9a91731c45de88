// Identifiers, names, ports and addresses as schemas. Ids carry their kind as Tencent's do: lb-, lbl-, loc-, lbtg-, eip-.
import { type Static, Type } from 'typebox';
import { LIMITS } from './limits.ts';

/** Every object of the API is closed: an unknown field is a mistake, and it is named with the nearest known one. */
export const closed = { additionalProperties: false } as const;

export const ID_PREFIX = {
  loadBalancer: 'lb',
  listener: 'lbl',
  rule: 'loc',
  targetGroup: 'lbtg',
  target: 'tgt',
  certificate: 'cert',
  eip: 'eip',
  instance: 'ins',
} as const;
export type ResourceKind = keyof typeof ID_PREFIX;

function id(kind: ResourceKind, description: string) {
  return Type.String({ pattern: `^${ID_PREFIX[kind]}-[a-z0-9][a-z0-9-]{0,50}$`, description });
}

export const LoadBalancerId = id('loadBalancer', 'Id of a load balancer, lb-…');
export const ListenerId = id('listener', 'Id of a listener, lbl-…');
export const RuleId = id('rule', 'Id of a rule, loc-…');
export const TargetGroupId = id('targetGroup', 'Id of a target group, lbtg-…');
export const TargetId = id('target', 'Id of a target, tgt-…');
export const CertificateId = id('certificate', 'Id of a certificate, cert-…');
export const EipId = id('eip', 'Id of an EIP, eip-…');
export const InstanceId = id('instance', 'Id of an instance (VM), ins-…');
export const NodeId = Type.String({
  pattern: '^[a-z0-9][a-z0-9-]{0,40}$',
  description: 'Id of a node: lower case letters, digits and dashes, for example ld1',
});

/** The number that is also the GRE key. 0 is the underlay; 0xFFFFFF00 and above are kept for peers (data-plane.md P9). */
export const VpcId = Type.Integer({
  minimum: 1,
  maximum: 0xfffffeff,
  description: 'VPC id, which is also the GRE key',
});
export const Name = Type.String({
  minLength: 1,
  maxLength: LIMITS.nameCharsMax,
  description: 'A name for people, 1 to 80 characters',
});
export const AddressText = Type.String({ minLength: 2, maxLength: 45, description: 'An IPv4 or IPv6 address' });
export const CidrText = Type.String({
  minLength: 4,
  maxLength: 49,
  description: 'A CIDR block, for example 10.0.0.0/16',
});
export const Port = Type.Integer({ minimum: 1, maximum: 65535, description: 'A TCP or UDP port, 1 to 65535' });
export const Revision = Type.Integer({ minimum: 0, description: 'Store revision of the last change' });

/** Answer of a mutation that leaves nothing to show. */
export const Changed = Type.Object({ revision: Revision }, closed);
export type Changed = Static<typeof Changed>;

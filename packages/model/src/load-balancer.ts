// Load balancers: a name, a network and VIPs, under which listeners live.
import { type Static, Type } from 'typebox';
import { AddressText, closed, LoadBalancerId, Name, Revision, VpcId } from './ids.ts';
import { CustomConfigText } from './custom-config.ts';
import { LIMITS } from './limits.ts';
import { AccessList } from './service-limits.ts';

export const LOAD_BALANCER_DEFAULTS = { network: 'public' } as const;

const network = Type.Enum(['public', 'internal'], {
  default: LOAD_BALANCER_DEFAULTS.network,
  description: 'public: VIPs of the underlay. internal: VIPs inside one VPC',
});
const vips = Type.Array(AddressText, {
  minItems: 1,
  maxItems: LIMITS.vipsPerLoadBalancerMax,
  uniqueItems: true,
  description: 'Addresses that clients use; each belongs to one load balancer',
});
const vpcId = { ...VpcId, description: 'The VPC of an internal load balancer' };

export const LoadBalancerInput = Type.Object(
  {
    id: Type.Optional(LoadBalancerId),
    name: Name,
    network: Type.Optional(network),
    vpcId: Type.Optional(vpcId),
    vips: Type.Optional({ ...vips, description: 'Addresses to use; when absent they are allocated from the pool' }),
    families: Type.Optional(
      Type.Array(Type.Enum(['v4', 'v6']), {
        minItems: 1,
        maxItems: 2,
        uniqueItems: true,
        default: ['v4'],
        description: 'Families to allocate when no VIP is given',
      }),
    ),
    access: Type.Optional(AccessList),
    customConfig: Type.Optional(CustomConfigText),
  },
  { ...closed, description: 'A load balancer to create' },
);
export type LoadBalancerInput = Static<typeof LoadBalancerInput>;

export const LoadBalancerPatch = Type.Object(
  {
    name: Type.Optional(Name),
    vips: Type.Optional(vips),
    access: Type.Optional(AccessList),
    customConfig: Type.Optional(CustomConfigText),
  },
  { ...closed, description: 'What may change on a load balancer' },
);
export type LoadBalancerPatch = Static<typeof LoadBalancerPatch>;

export const LoadBalancer = Type.Object(
  {
    id: LoadBalancerId,
    name: Name,
    network,
    vpcId: Type.Optional(vpcId),
    vips,
    access: Type.Optional(AccessList),
    customConfig: Type.Optional(CustomConfigText),
    revision: Revision,
  },
  { ...closed, description: 'A load balancer' },
);
export type LoadBalancer = Static<typeof LoadBalancer>;

// The whole desired state as one document: `clb apply -f`, `clb up -f` and `PUT /v1/config`.
// An object is the same as a stored one when its `id` is equal or, without an id, its `name`; listeners also by protocol and port.
import { type Static, Type } from 'typebox';
import { CertificateInput } from './certificate.ts';
import { EipBindInput, EipInput } from './eip.ts';
import { HealthCheck } from './health-check.ts';
import { closed, LoadBalancerId, Name, Revision, RuleId, TargetGroupId, ListenerId } from './ids.ts';
import { InstanceInput } from './instance.ts';
import { LIMITS } from './limits.ts';
import { ListenerInput } from './listener.ts';
import { LoadBalancerInput } from './load-balancer.ts';
import { NodeInput } from './node.ts';
import { RuleInput } from './rule.ts';
import { RulePolicy } from './rule-policy.ts';
import { TargetInput } from './target.ts';
import { TargetGroupInput } from './target-group.ts';
import { Mirror } from './upstream-policy.ts';
import { VpcInput } from './vpc.ts';

const targets = Type.Array(TargetInput, {
  maxItems: LIMITS.targetsPerGroupMax,
  description: 'Targets of its own, instead of `targetGroup`',
});
const targetGroup = Type.String({
  minLength: 1,
  maxLength: LIMITS.nameCharsMax,
  description: 'Id or name of a target group of this document',
});
const own = {
  targetGroup: Type.Optional(targetGroup),
  targets: Type.Optional(targets),
  healthCheck: Type.Optional(HealthCheck),
};

/** A policy of a document: the group of its mirror may be named, as every group may. */
const policy = Type.Object(
  {
    ...RulePolicy.properties,
    mirror: Type.Optional(
      Type.Object(
        { ...Mirror.properties, targetGroup },
        { ...closed, description: 'Copies requests to another group, whose answers are thrown away' },
      ),
    ),
  },
  { ...closed, description: 'What the rule does beyond choosing a group' },
);

const rule = RuleInput.properties;
export const ConfigRule = Type.Object(
  {
    id: Type.Optional(RuleId),
    domain: rule.domain,
    path: rule.path,
    isDefault: rule.isDefault,
    scheduler: rule.scheduler,
    policy: Type.Optional(policy),
    ...own,
  },
  { ...closed, description: 'A rule of an HTTP or HTTPS listener' },
);
export type ConfigRule = Static<typeof ConfigRule>;

const listener = ListenerInput.properties;
export const ConfigListener = Type.Object(
  {
    id: Type.Optional(ListenerId),
    name: listener.name,
    protocol: listener.protocol,
    port: listener.port,
    scheduler: listener.scheduler,
    translation: listener.translation,
    idleSeconds: listener.idleSeconds,
    onRemove: listener.onRemove,
    syncAfter: listener.syncAfter,
    onUnknown: listener.onUnknown,
    limits: listener.limits,
    synProxy: listener.synProxy,
    synRate: listener.synRate,
    domains: listener.domains,
    stickySeconds: listener.stickySeconds,
    relay: listener.relay,
    policy: listener.policy,
    customConfig: listener.customConfig,
    tls: listener.tls,
    http2: listener.http2,
    certificates: Type.Optional(
      Type.Array(Name, { maxItems: LIMITS.certificatesPerListenerMax, description: 'Ids or names of certificates' }),
    ),
    ...own,
    rules: Type.Optional(
      Type.Array(ConfigRule, { maxItems: LIMITS.rulesPerListenerMax, description: 'Rules, for HTTP and HTTPS' }),
    ),
  },
  { ...closed, description: 'A listener with its rules or targets' },
);
export type ConfigListener = Static<typeof ConfigListener>;

const loadBalancer = LoadBalancerInput.properties;
export const ConfigLoadBalancer = Type.Object(
  {
    id: Type.Optional(LoadBalancerId),
    name: Name,
    network: loadBalancer.network,
    vpcId: loadBalancer.vpcId,
    vips: loadBalancer.vips,
    families: loadBalancer.families,
    access: loadBalancer.access,
    customConfig: loadBalancer.customConfig,
    listeners: Type.Optional(
      Type.Array(ConfigListener, { maxItems: LIMITS.listenersPerLoadBalancerMax, description: 'Its listeners' }),
    ),
  },
  { ...closed, description: 'A load balancer with its listeners' },
);
export type ConfigLoadBalancer = Static<typeof ConfigLoadBalancer>;

export const ConfigTargetGroup = Type.Object(
  { ...TargetGroupInput.properties, id: Type.Optional(TargetGroupId) },
  { ...closed, description: 'A target group shared by listeners and rules' },
);
export type ConfigTargetGroup = Static<typeof ConfigTargetGroup>;

export const ConfigEip = Type.Object(
  { ...EipInput.properties, bind: Type.Optional(EipBindInput) },
  { ...closed, description: 'An EIP and what it is bound to' },
);
export type ConfigEip = Static<typeof ConfigEip>;

export const Config = Type.Object(
  {
    vpcs: Type.Optional(Type.Array(VpcInput, { maxItems: 10_000, description: 'VPCs' })),
    nodes: Type.Optional(Type.Array(NodeInput, { maxItems: LIMITS.nodesMax, description: 'Nodes' })),
    instances: Type.Optional(
      Type.Array(InstanceInput, { maxItems: 100_000, description: 'Instances and where they run' }),
    ),
    certificates: Type.Optional(
      Type.Array(CertificateInput, { maxItems: 10_000, description: 'Certificates with keys' }),
    ),
    targetGroups: Type.Optional(
      Type.Array(ConfigTargetGroup, { maxItems: 100_000, description: 'Shared target groups' }),
    ),
    loadBalancers: Type.Optional(
      Type.Array(ConfigLoadBalancer, { maxItems: LIMITS.loadBalancersMax, description: 'Load balancers' }),
    ),
    eips: Type.Optional(Type.Array(ConfigEip, { maxItems: 100_000, description: 'Elastic IP addresses' })),
  },
  {
    ...closed,
    description:
      'The whole desired state. A section that is present replaces what is stored; an absent one is left alone',
  },
);
export type Config = Static<typeof Config>;

/** What applying a document changed. */
export const ConfigResult = Type.Object(
  {
    revision: Revision,
    created: Type.Array(Type.String()),
    updated: Type.Array(Type.String()),
    deleted: Type.Array(Type.String()),
    unchanged: Type.Integer({ minimum: 0 }),
  },
  { ...closed, description: 'Ids created, updated and deleted; an empty change keeps the revision' },
);
export type ConfigResult = Static<typeof ConfigResult>;

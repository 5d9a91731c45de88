// Listeners: VIP, port and protocol of a load balancer, and what happens to what arrives there (tencent-cloud.md C-P0, E2).
import { type Static, Type } from 'typebox';
import { CertificateId, closed, ListenerId, LoadBalancerId, Name, Port, Revision, TargetGroupId } from './ids.ts';
import { CustomConfigText } from './custom-config.ts';
import { LIMITS } from './limits.ts';
import { RelayPolicy } from './relay-policy.ts';
import { ListenerPolicy } from './rule-policy.ts';
import { ServiceLimits } from './service-limits.ts';
import { TlsPolicy } from './tls-policy.ts';

export const LISTENER_DEFAULTS = {
  translation: 'auto',
  onRemove: 'run',
  tcpIdleSeconds: 900,
  udpIdleSeconds: 300,
  syncAfter: 5,
  onUnknown: 'reset',
  synProxy: 'off',
  synRate: 10_000,
} as const;

export const ListenerProtocol = Type.Enum(['TCP', 'UDP', 'HTTP', 'HTTPS', 'TCP_SSL'], {
  description: 'TCP and UDP are forwarded by directors; HTTP, HTTPS and TCP_SSL end on proxies',
});
export type ListenerProtocol = Static<typeof ListenerProtocol>;

export const ListenerDomain = Type.Object(
  {
    domain: Type.String({
      maxLength: 253,
      pattern: '^(\\*\\.)?([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?\\.)*[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?$',
      description: 'Exact name, or *. and a name for all names below it; the longest one counts',
    }),
    targetGroup: { ...TargetGroupId, description: 'Where clients go that ask for it' },
  },
  { ...closed, description: 'A domain of a TCP listener' },
);
export type ListenerDomain = Static<typeof ListenerDomain>;

const fields = {
  name: Name,
  port: { ...Port, description: 'Port of the VIP (vport)' },
  scheduler: Type.Enum(['maglev', 'wrr', 'least-connections', 'ip-hash'], {
    description:
      'Picks the target of a new flow; default maglev for TCP and UDP, wrr for TCP_SSL. HTTP(S): see the rules',
  }),
  translation: Type.Enum(['auto', 'none', 'dnat', 'fullnat'], {
    default: LISTENER_DEFAULTS.translation,
    description: 'auto: the right one for the kind of listener and target',
  }),
  targetGroup: {
    ...TargetGroupId,
    description: 'Group of a TCP, UDP or TCP_SSL listener; HTTP(S) listeners have rules instead',
  },
  idleSeconds: Type.Integer({
    minimum: 10,
    maximum: 1980,
    description: 'Idle time of a flow: 900 for TCP, 300 for UDP when absent',
  }),
  onRemove: Type.Enum(['run', 'reset', 'reschedule'], {
    default: LISTENER_DEFAULTS.onRemove,
    description: 'What happens to the flows of a removed target',
  }),
  syncAfter: Type.Integer({
    minimum: 0,
    maximum: 60,
    default: LISTENER_DEFAULTS.syncAfter,
    description: 'Age in seconds from which the other directors know a flow; 0: as soon as both sides have spoken',
  }),
  onUnknown: Type.Enum(['reset', 'drop'], {
    default: LISTENER_DEFAULTS.onUnknown,
    description: 'What a client gets whose connection no director knows',
  }),
  stickySeconds: Type.Integer({
    minimum: 30,
    maximum: 3600,
    description: 'TCP, UDP: how long after its last new flow a client address keeps its target; not at all when absent',
  }),
  synProxy: Type.Enum(['off', 'on', 'auto'], {
    default: LISTENER_DEFAULTS.synProxy,
    description:
      'TCP: directors answer SYNs themselves, and targets see only clients that are there. auto: above synRate',
  }),
  synRate: Type.Integer({
    minimum: 10,
    maximum: 10_000_000,
    default: LISTENER_DEFAULTS.synRate,
    description: 'SYNs a second of one director from which synProxy auto is on; off after 60 s below half of it',
  }),
  domains: Type.Array(ListenerDomain, {
    minItems: 1,
    maxItems: LIMITS.domainsPerListenerMax,
    description:
      'TCP: target groups by TLS server name or HTTP Host of the first data. Others go to the group of the listener',
  }),
  certificates: Type.Array(CertificateId, {
    maxItems: LIMITS.certificatesPerListenerMax,
    uniqueItems: true,
    description: 'Certificates of an HTTPS or TCP_SSL listener',
  }),
  http2: Type.Boolean({
    description: 'HTTP/2 for clients of an HTTP or HTTPS listener that want it; true when absent',
  }),
};

const optional = {
  name: Type.Optional(fields.name),
  scheduler: Type.Optional(fields.scheduler),
  translation: Type.Optional(fields.translation),
  targetGroup: Type.Optional(fields.targetGroup),
  idleSeconds: Type.Optional(fields.idleSeconds),
  onRemove: Type.Optional(fields.onRemove),
  syncAfter: Type.Optional(fields.syncAfter),
  onUnknown: Type.Optional(fields.onUnknown),
  stickySeconds: Type.Optional(fields.stickySeconds),
  limits: Type.Optional(ServiceLimits),
  synProxy: Type.Optional(fields.synProxy),
  synRate: Type.Optional(fields.synRate),
  domains: Type.Optional(fields.domains),
  certificates: Type.Optional(fields.certificates),
  tls: Type.Optional(TlsPolicy),
  http2: Type.Optional(fields.http2),
  relay: Type.Optional(RelayPolicy),
  policy: Type.Optional(ListenerPolicy),
  customConfig: Type.Optional(CustomConfigText),
};

export const ListenerInput = Type.Object(
  {
    id: Type.Optional(ListenerId),
    loadBalancer: LoadBalancerId,
    protocol: ListenerProtocol,
    port: fields.port,
    ...optional,
  },
  { ...closed, description: 'A listener to create' },
);
export type ListenerInput = Static<typeof ListenerInput>;

export const ListenerPatch = Type.Object(optional, { ...closed, description: 'What may change on a listener' });
export type ListenerPatch = Static<typeof ListenerPatch>;

export const Listener = Type.Object(
  {
    id: ListenerId,
    loadBalancer: LoadBalancerId,
    name: fields.name,
    protocol: ListenerProtocol,
    port: fields.port,
    scheduler: fields.scheduler,
    translation: fields.translation,
    targetGroup: Type.Optional(fields.targetGroup),
    idleSeconds: fields.idleSeconds,
    onRemove: fields.onRemove,
    syncAfter: Type.Optional(fields.syncAfter),
    onUnknown: Type.Optional(fields.onUnknown),
    stickySeconds: Type.Optional(fields.stickySeconds),
    limits: Type.Optional(ServiceLimits),
    synProxy: Type.Optional(fields.synProxy),
    synRate: Type.Optional(fields.synRate),
    domains: Type.Optional(fields.domains),
    certificates: fields.certificates,
    tls: Type.Optional(TlsPolicy),
    http2: Type.Optional(fields.http2),
    relay: Type.Optional(RelayPolicy),
    policy: Type.Optional(ListenerPolicy),
    customConfig: Type.Optional(CustomConfigText),
    revision: Revision,
  },
  { ...closed, description: 'A listener' },
);
export type Listener = Static<typeof Listener>;

/** True for listeners whose connections end on a proxy. A UDP relay is no reason: directors forward datagrams themselves. */
export function isProxied({ protocol, relay }: Pick<ListenerInput, 'protocol' | 'relay'>): boolean {
  return protocol === 'TCP' ? relay !== undefined : protocol !== 'UDP';
}

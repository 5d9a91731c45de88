// What the controller compiles for each role (control-plane.md B5) and a node applies as a whole: images.
// Listeners, groups, targets and hosts are named by stable 64-bit ids (data-plane.md P5); a node gives them slots of its own.
// A node refuses an image with a field that it does not know (B14), so every object here is closed.
import { type Static, Type } from 'typebox';
import { CustomConfig } from './custom-config.ts';
import { Resilience } from './resilience.ts';
import { RelayPolicy } from './relay-policy.ts';
import { ListenerPolicy, RulePolicy } from './rule-policy.ts';
import { ServiceLimits } from './service-limits.ts';
import { TlsPolicy } from './tls-policy.ts';

const closed = { additionalProperties: false } as const;

/** A stable 64-bit id: the first 64 bits of SHA-256 over the resource id, as 16 hex digits. */
export const StableId = Type.String({ pattern: '^[0-9a-f]{16}$' });
/** An IPv4 or IPv6 address in canonical text. */
const Address = Type.String({ maxLength: 45 });
/** A VPC id, which is also the GRE key. 0 is the underlay; 0xFFFFFF00 and above are reserved for peers (P9). */
const Net = Type.Integer({ minimum: 0, maximum: 0xfffffeff });
const PortNumber = Type.Integer({ minimum: 0, maximum: 65535 });
/** IP protocol number: 6 TCP, 17 UDP, 132 SCTP, 1 ICMP, 58 ICMPv6. */
const Protocol = Type.Integer({ minimum: 0, maximum: 255 });

/** One address per family; at least one is present. */
export const AddressPair = Type.Object({ v4: Type.Optional(Address), v6: Type.Optional(Address) }, closed);
export type AddressPair = Static<typeof AddressPair>;

/** (store revision, compiler version), compared in this order: any controller may publish, no leader is needed (B4). */
export const Generation = Type.Object(
  { revision: Type.Integer({ minimum: 0 }), compiler: Type.Integer({ minimum: 0 }) },
  closed,
);
export type Generation = Static<typeof Generation>;

/** How a target's liveness is probed. Times in milliseconds. */
export const CheckSpec = Type.Object(
  {
    type: Type.Enum(['tcp', 'udp', 'icmp', 'http', 'https', 'grpc', 'grpcs', 'mysql', 'none']),
    intervalMs: Type.Integer({ minimum: 100, maximum: 300_000 }),
    timeoutMs: Type.Integer({ minimum: 50, maximum: 60_000 }),
    healthyThreshold: Type.Integer({ minimum: 1, maximum: 10 }),
    unhealthyThreshold: Type.Integer({ minimum: 1, maximum: 10 }),
    port: Type.Optional(PortNumber),
    /** Logs in as this user, without a password, and leaves. */
    mysql: Type.Optional(Type.Object({ user: Type.String({ maxLength: 80 }) }, closed)),
    http: Type.Optional(
      Type.Object(
        {
          method: Type.Enum(['HEAD', 'GET']),
          path: Type.String({ maxLength: 200 }),
          host: Type.Optional(Type.String({ maxLength: 80 })),
          /** Bitmask as in Tencent's HttpCode: 1 = 1xx, 2 = 2xx, 4 = 3xx, 8 = 4xx, 16 = 5xx. */
          codes: Type.Integer({ minimum: 1, maximum: 31 }),
          version: Type.Optional(Type.Enum(['1.0', '1.1'])),
          body: Type.Optional(Type.String({ maxLength: 500 })),
        },
        closed,
      ),
    ),
    grpc: Type.Optional(
      Type.Object(
        {
          service: Type.String({ maxLength: 200 }),
          /** Statuses that count as alive beside SERVING. */
          codes: Type.Array(Type.Integer({ minimum: 0, maximum: 99 }), { maxItems: 100 }),
        },
        closed,
      ),
    ),
  },
  closed,
);
export type CheckSpec = Static<typeof CheckSpec>;

/** A tunnel address T(d,w): director `node`, worker `worker` (P1). */
export const TunnelRow = Type.Object(
  {
    node: Type.String(),
    worker: Type.Integer({ minimum: 0, maximum: 63 }),
    v4: Type.Optional(Address),
    v6: Type.Optional(Address),
  },
  closed,
);
export type TunnelRow = Static<typeof TunnelRow>;

export const HostRow = Type.Object(
  { id: StableId, name: Type.String(), v4: Type.Optional(Address), v6: Type.Optional(Address) },
  closed,
);
export type HostRow = Static<typeof HostRow>;

/** All kinds of target resolve to this one row (B1). `host` names the tunnel's far end; null with encapsulation none and l2. */
export const TargetRow = Type.Object(
  {
    id: StableId,
    name: Type.String(),
    net: Net,
    address: Address,
    port: PortNumber,
    encapsulation: Type.Enum(['none', 'l2', 'ipip', 'gre']),
    host: Type.Union([StableId, Type.Null()]),
  },
  closed,
);
export type TargetRow = Static<typeof TargetRow>;

/** Targets that share one Maglev table (P12). Weight 0 drains. */
export const GroupRow = Type.Object(
  {
    id: StableId,
    name: Type.String(),
    slots: Type.Integer({ minimum: 251, maximum: 65537 }),
    targets: Type.Array(Type.Object({ target: StableId, weight: Type.Integer({ minimum: 0, maximum: 100 }) }, closed)),
    check: CheckSpec,
    /** Proxies only. */
    resilience: Type.Optional(Resilience),
  },
  closed,
);
export type GroupRow = Static<typeof GroupRow>;

export const ListenerRow = Type.Object(
  {
    id: StableId,
    /** Resource ids, for explain and status only. */
    name: Type.String(),
    loadBalancer: Type.String(),
    /** 0 for public VIPs; the VPC id for internal ones, because those overlap between VPCs (P4). */
    net: Net,
    vip: Address,
    vport: PortNumber,
    protocol: Protocol,
    translation: Type.Enum(['none', 'dnat', 'fullnat']),
    scheduler: Type.Enum(['maglev', 'wrr', 'ip-hash', 'least-connections']),
    group: StableId,
    /** Replies do not come back through the director: proxies, LVS-DR, LVS-TUN. */
    directReturn: Type.Boolean(),
    idleSeconds: Type.Integer({ minimum: 1, maximum: 86_400 }),
    /** What happens to the flows of a removed target. */
    onRemove: Type.Enum(['run', 'reset', 'reschedule']),
    /** Age from which the other directors hear of a flow (P9); 5 s when absent. */
    syncAfterSeconds: Type.Optional(Type.Integer({ minimum: 0, maximum: 60 })),
    /** What a client gets whose connection no director knows (P8); a reset when absent. */
    onUnknown: Type.Optional(Type.Enum(['reset', 'drop'])),
    /** How long a client keeps its target for new flows (P34); not at all when absent. */
    stickySeconds: Type.Optional(Type.Integer({ minimum: 30, maximum: 3600 })),
    limits: Type.Optional(ServiceLimits),
    /** The access list that new flows must pass. */
    access: Type.Optional(StableId),
    /** Whether the director answers SYNs itself (P26); off when absent. */
    synProxy: Type.Optional(Type.Enum(['on', 'auto'])),
    /** SYNs a second of one director from which `auto` does. */
    synRate: Type.Optional(Type.Integer({ minimum: 1 })),
    /** Groups by the name that a client asks for (P27). */
    domains: Type.Optional(Type.Array(Type.Object({ domain: Type.String(), group: StableId }, closed))),
  },
  closed,
);
export type ListenerRow = Static<typeof ListenerRow>;

/** Load balancers with equal lists share one. */
export const AccessListRow = Type.Object(
  {
    id: StableId,
    otherwise: Type.Enum(['allow', 'deny']),
    rules: Type.Array(
      Type.Object(
        {
          cidr: Type.String({ maxLength: 49 }),
          action: Type.Enum(['allow', 'deny']),
          protocol: Type.Optional(Protocol),
          firstPort: Type.Optional(PortNumber),
          lastPort: Type.Optional(PortNumber),
        },
        closed,
      ),
    ),
  },
  closed,
);
export type AccessListRow = Static<typeof AccessListRow>;

/** An EIP is a stateless 1:1 translation to (net, address) behind `host` (P28). */
export const EipRow = Type.Object(
  { id: StableId, name: Type.String(), eip: Address, net: Net, address: Address, host: StableId },
  closed,
);
export type EipRow = Static<typeof EipRow>;

/** Another director, for flow sync and peer packets (P9). */
export const SyncPeer = Type.Object(
  { node: Type.String(), ordinal: Type.Integer({ minimum: 0, maximum: 4095 }), underlay: AddressPair },
  closed,
);
export type SyncPeer = Static<typeof SyncPeer>;

export const DirectorImage = Type.Object(
  {
    role: Type.Literal('director'),
    generation: Generation,
    self: Type.Object(
      { id: Type.String(), ordinal: Type.Integer({ minimum: 0, maximum: 4095 }), underlay: AddressPair },
      closed,
    ),
    /** Every tunnel address of the cluster, our own included: packets to any of them are accepted (P2). */
    tunnels: Type.Array(TunnelRow),
    /** E, the anycast tunnel address of the stateless tier. */
    anycast: AddressPair,
    /** This director's address to probe from, per family, routed back like its tunnel addresses. */
    probe: AddressPair,
    /** Every VIP of the cluster with its net; the director answers echo for it and announces it. */
    vips: Type.Array(Type.Object({ net: Net, address: Address }, closed)),
    listeners: Type.Array(ListenerRow),
    groups: Type.Array(GroupRow),
    targets: Type.Array(TargetRow),
    hosts: Type.Array(HostRow),
    eips: Type.Array(EipRow),
    /** Outer sources from which tunnels are accepted, beside `hosts` (P38): proxies. */
    trusted: Type.Array(Address),
    accessLists: Type.Optional(Type.Array(AccessListRow)),
    /** The other directors and the secret that they share; absent: this one stands alone. */
    sync: Type.Optional(
      Type.Object({ secret: Type.String({ pattern: '^[0-9a-f]{64}$' }), peers: Type.Array(SyncPeer) }, closed),
    ),
  },
  closed,
);
export type DirectorImage = Static<typeof DirectorImage>;

/** A VM on this host: where frames for (net, address) are delivered. */
export const VmRow = Type.Object(
  {
    id: Type.String(),
    net: Net,
    addresses: Type.Array(Address, { minItems: 1, maxItems: 16 }),
    mac: Type.String({ pattern: '^[0-9a-f]{2}(:[0-9a-f]{2}){5}$' }),
    device: Type.String({ maxLength: 15 }),
    /** Addresses of this VM that have an EIP: what it starts itself leaves towards E (P28). */
    eips: Type.Array(Address),
  },
  closed,
);
export type VmRow = Static<typeof VmRow>;

/** VPC map: (net, address) lives behind this underlay address. */
export const MapRow = Type.Object({ net: Net, address: Address, host: Address }, closed);
export type MapRow = Static<typeof MapRow>;

/** (net, address, port, protocol) is a registered target: replies without memory go to some director (P7.5). */
export const RegisteredRow = Type.Object({ net: Net, address: Address, port: PortNumber, protocol: Protocol }, closed);
export type RegisteredRow = Static<typeof RegisteredRow>;

/** A proxy's own source address in a VPC: the source address names the VPC (P21). */
export const SourceRow = Type.Object({ net: Net, v4: Type.Optional(Address), v6: Type.Optional(Address) }, closed);
export type SourceRow = Static<typeof SourceRow>;

export const EndpointImage = Type.Object(
  {
    role: Type.Literal('endpoint'),
    generation: Generation,
    self: Type.Object({ id: Type.String(), underlay: AddressPair }, closed),
    /** Director tunnel addresses, for rendezvous (P7.5) and as accepted outer sources. */
    tunnels: Type.Array(TunnelRow),
    anycast: AddressPair,
    /** Further outer sources accepted: underlay addresses of hosts and proxies. */
    trusted: Type.Array(Address),
    vms: Type.Array(VmRow, { maxItems: 256 }),
    /** Addresses of this machine itself that are physical targets (net 0, IPIP: P23). */
    physical: Type.Array(Address),
    map: Type.Array(MapRow),
    registered: Type.Array(RegisteredRow),
    /** Internal VIPs by net: traffic to them goes to a director (P7.5). */
    internalVips: Type.Array(Type.Object({ net: Net, address: Address }, closed)),
    /** Set on a proxy node: its sources by VPC, and the VIPs it must accept locally (P20). */
    sources: Type.Array(SourceRow),
    localVips: Type.Array(Address),
  },
  closed,
);
export type EndpointImage = Static<typeof EndpointImage>;

/** One routing rule of a layer-7 listener: domain + path → group (tencent-cloud.md E3). */
export const RuleRow = Type.Object(
  {
    id: StableId,
    name: Type.String(),
    /** Exact name, `*.x`, `x.*`, or `~regex`. Empty: any. */
    domain: Type.String({ maxLength: 120 }),
    /** Plain prefix, `=` exact, `^~` prefix, `~`/`~*` regex. */
    path: Type.String({ maxLength: 200 }),
    /** Absent where `policy` redirects or answers. */
    group: Type.Optional(StableId),
    isDefault: Type.Boolean(),
    scheduler: Type.Enum(['wrr', 'least-connections', 'ip-hash', 'maglev', 'p2c']),
    policy: Type.Optional(RulePolicy),
  },
  closed,
);
export type RuleRow = Static<typeof RuleRow>;

export const ProxyListenerRow = Type.Object(
  {
    id: StableId,
    name: Type.String(),
    loadBalancer: Type.String(),
    vips: Type.Array(Address),
    port: PortNumber,
    /** tcp and udp are relay listeners: terminated here and joined to the target byte by byte. */
    protocol: Type.Enum(['http', 'https', 'tcp-ssl', 'tcp', 'udp']),
    /** Certificate ids, most specific first; secrets come beside the image, never in it (B11). */
    certificates: Type.Array(Type.String()),
    tls: Type.Optional(TlsPolicy),
    /** HTTP/2 for clients that want it; true when absent. */
    http2: Type.Optional(Type.Boolean()),
    rules: Type.Array(RuleRow),
    policy: Type.Optional(ListenerPolicy),
    /** Personalised config of the load balancer and of the listener, joined. */
    custom: Type.Optional(CustomConfig),
    /** The group of a relay listener, which has no rules. */
    group: Type.Optional(StableId),
    scheduler: Type.Optional(Type.Enum(['wrr', 'least-connections', 'ip-hash', 'maglev'])),
    /** Of relay listeners: a connection on which neither side says anything, or a UDP session, ends after this. */
    idleSeconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 86_400 })),
    relay: Type.Optional(RelayPolicy),
    /** Groups that `relay.mysql` names, by resource id. */
    mysqlGroups: Type.Optional(Type.Array(Type.Object({ name: Type.String(), group: StableId }, closed))),
  },
  closed,
);
export type ProxyListenerRow = Static<typeof ProxyListenerRow>;

export const ProxyTargetRow = Type.Object(
  {
    id: StableId,
    name: Type.String(),
    net: Net,
    address: Address,
    port: PortNumber,
    source: Type.Union([Address, Type.Null()]),
  },
  closed,
);
export type ProxyTargetRow = Static<typeof ProxyTargetRow>;

export const ProxyImage = Type.Object(
  {
    role: Type.Literal('proxy'),
    generation: Generation,
    self: Type.Object({ id: Type.String(), underlay: AddressPair }, closed),
    listeners: Type.Array(ProxyListenerRow),
    groups: Type.Array(GroupRow),
    /** `source` is the local address to connect from: the one of the target's VPC (P21), or null for plain routing (P22). */
    targets: Type.Array(ProxyTargetRow),
    /** The node's own endpoint: a proxy node applies it first, then its listeners. Absent in all-in-one mode. */
    endpoint: Type.Optional(EndpointImage),
    /** Answers to ACME authorities (RFC 8555 8.3), given by every HTTP listener before its rules are asked. */
    challenges: Type.Optional(
      Type.Array(
        Type.Object({ token: Type.String({ maxLength: 200 }), answer: Type.String({ maxLength: 400 }) }, closed),
      ),
    ),
    /** The port that answers GET /ready for directors' probes (P24). */
    readyPort: PortNumber,
  },
  closed,
);
export type ProxyImage = Static<typeof ProxyImage>;

export const Image = Type.Union([DirectorImage, EndpointImage, ProxyImage]);
export type Image = Static<typeof Image>;
export type Role = Image['role'];

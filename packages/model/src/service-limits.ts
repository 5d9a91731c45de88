// What a service may take of its directors, and who may open connections to it (acceptance.md A137; data-plane.md P33).
import { type Static, Type } from 'typebox';
import { CidrText, closed } from './ids.ts';
import { LIMITS } from './limits.ts';

export const ServiceLimits = Type.Object(
  {
    packetsPerSecond: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1e9, description: 'Packets a second, both directions together' }),
    ),
    bitsPerSecond: Type.Optional(
      Type.Integer({
        minimum: 10_000,
        maximum: 1e12,
        description: 'Bits a second of IP packets, both directions together',
      }),
    ),
    connectionsPerSecond: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1e9, description: 'New connections (UDP: new flows) a second' }),
    ),
    when: Type.Optional(
      Type.Enum(['always', 'overload'], {
        default: 'overload',
        description: 'overload: only while a director has more load than its watermark',
      }),
    ),
  },
  {
    ...closed,
    minProperties: 1,
    description: 'Most that the whole cluster takes of this listener, under all VIPs of its load balancer together',
  },
);
export type ServiceLimits = Static<typeof ServiceLimits>;

export const AccessRule = Type.Object(
  {
    cidr: { ...CidrText, description: 'Client addresses, for example 203.0.113.0/24 or 2001:db8::/32' },
    action: Type.Enum(['allow', 'deny'], { description: 'Lets new connections in, or drops them' }),
    protocol: Type.Optional(Type.Enum(['TCP', 'UDP'], { description: 'Both when absent' })),
    ports: Type.Optional(
      Type.String({
        pattern: '^[0-9]{1,5}(-[0-9]{1,5})?$',
        description: 'Ports of the VIP: one, or first and last with a dash; all when absent',
      }),
    ),
  },
  { ...closed, description: 'A rule of an access list' },
);
export type AccessRule = Static<typeof AccessRule>;

export const AccessList = Type.Object(
  {
    otherwise: Type.Enum(['allow', 'deny'], { description: 'For clients that no rule fits' }),
    rules: Type.Array(AccessRule, {
      maxItems: LIMITS.accessRulesPerLoadBalancerMax,
      description: 'Of the rules that fit a packet the one with the longest prefix counts, of equal prefixes the first',
    }),
  },
  { ...closed, description: 'Who may open connections to a load balancer, as a security group says it' },
);
export type AccessList = Static<typeof AccessList>;

/** First and last port of `80` or `8000-8999`; undefined for what is no such range. */
export function portsOf(text: string): { readonly firstPort: number; readonly lastPort: number } | undefined {
  const [firstPort = 0, lastPort = firstPort] = text.split('-').map(Number);
  return firstPort >= 1 && firstPort <= lastPort && lastPort <= 65_535 ? { firstPort, lastPort } : undefined;
}

// What a relay does with connections: TCP, UDP and TCP_SSL listeners that end on a proxy (tencent-cloud.md E2; A146).
// The same object is stored and compiled into proxy images.
import { type Static, Type } from 'typebox';
import { TargetGroupId } from './ids.ts';

const closed = { additionalProperties: false } as const;
const Cidr = Type.String({ maxLength: 49, description: 'An address or a prefix: 10.0.0.0/8, 2001:db8::/32' });
const Cidrs = (description: string) => Type.Array(Cidr, { maxItems: 200, description });
const count = (description: string) => Type.Integer({ minimum: 1, maximum: 1_000_000, description });

export const RelayPolicy = Type.Object(
  {
    proxyProtocol: Type.Optional(
      Type.Enum(['v1', 'v2'], {
        description: 'Tells targets the address of the client; v2 on UDP listeners, in front of every datagram',
      }),
    ),
    proxyProtocolFrom: Type.Optional(
      Cidrs('PROXY protocol v1 or v2 is expected from these networks; not on UDP listeners'),
    ),
    allow: Type.Optional(Cidrs('Only clients of these networks; others are closed')),
    deny: Type.Optional(Cidrs('Clients of these networks are closed, before `allow` is asked')),
    connectionsMax: Type.Optional(count('Open connections or UDP sessions, each proxy')),
    connectionsPerClientMax: Type.Optional(count('Open connections or UDP sessions of one client address')),
    connectionsPerTargetMax: Type.Optional(
      count('Open connections or UDP sessions of one target; another target is taken then'),
    ),
    connectSeconds: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 60, default: 4, description: 'Seconds for a connection to a target' }),
    ),
    mysql: Type.Optional(
      Type.Object(
        {
          targetGroups: Type.Array(TargetGroupId, {
            minItems: 1,
            maxItems: 16,
            uniqueItems: true,
            description: "Groups that a plugin may choose by user and schema, beside the listener's own",
          }),
        },
        { ...closed, description: 'Reads MySQL logins; TLS inside of MySQL is not offered to clients then' },
      ),
    ),
  },
  {
    ...closed,
    description: 'Ends the connections of a TCP, UDP or TCP_SSL listener on a proxy, where they are joined to a target',
  },
);
export type RelayPolicy = Static<typeof RelayPolicy>;

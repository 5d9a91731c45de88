// What a target group does when its targets fail or return (layer7.md 1): ejection, slow start, the all-dead policy, circuit breaking.
import { type Static, Type } from 'typebox';

const closed = { additionalProperties: false } as const;

export const OUTLIER_DEFAULTS = {
  failures: 3,
  windowSeconds: 10,
  baseSeconds: 10,
  maxSeconds: 300,
  ejectedPercentMax: 50,
} as const;
const D = OUTLIER_DEFAULTS;

export const Outlier = Type.Object(
  {
    failures: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1000,
        default: D.failures,
        description: 'Failed requests within the window that eject a target',
      }),
    ),
    windowSeconds: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 300, default: D.windowSeconds, description: 'Seconds in which they count' }),
    ),
    statuses: Type.Optional(
      Type.Array(Type.Integer({ minimum: 400, maximum: 599 }), {
        maxItems: 32,
        uniqueItems: true,
        description: 'Answers that count as failures, beside lost connections, time-outs and malformed answers',
      }),
    ),
    baseSeconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 3600,
        default: D.baseSeconds,
        description: 'Length of the first ejection; each further one is twice as long',
      }),
    ),
    maxSeconds: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 86_400, default: D.maxSeconds, description: 'Longest ejection' }),
    ),
    ejectedPercentMax: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 100,
        default: D.ejectedPercentMax,
        description: 'Share of the targets that may be ejected at once',
      }),
    ),
  },
  { ...closed, description: 'When requests themselves show that a target is broken' },
);
export type Outlier = Static<typeof Outlier>;

const limit = (description: string) => Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000, description }));

export const Circuit = Type.Object(
  {
    connectionsMax: limit('Connections to the targets of the group, each proxy'),
    pendingMax: limit('Requests that wait for a connection, each proxy'),
    requestsMax: limit('Requests in flight, each proxy'),
  },
  { ...closed, description: 'What exceeds it is answered 503 at once' },
);
export type Circuit = Static<typeof Circuit>;

export const Resilience = Type.Object(
  {
    outlier: Type.Optional(Outlier),
    slowStartSeconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 3600,
        description: 'A target that comes back gets its full share after so long; of wrr, least-connections and p2c',
      }),
    ),
    allDead: Type.Optional(
      Type.Enum(['use-all', 'refuse'], {
        default: 'use-all',
        description: 'When checks find no target alive: use all of them, or answer 503',
      }),
    ),
    circuit: Type.Optional(Circuit),
  },
  { ...closed, description: 'What proxies do when targets of this group fail or return' },
);
export type Resilience = Static<typeof Resilience>;

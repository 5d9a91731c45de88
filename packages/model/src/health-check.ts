// How a target's liveness is probed: Tencent's ranges and defaults (tencent-cloud.md C-HealthCheck, E1).
// One second is allowed as timeout, where Tencent starts at two: an interval of 2 s would otherwise have no valid timeout.
import { type Static, Type } from 'typebox';
import { closed, Port } from './ids.ts';

export const HEALTH_CHECK_DEFAULTS = {
  enabled: true,
  type: 'tcp',
  intervalSeconds: 5,
  timeoutSeconds: 2,
  healthyThreshold: 3,
  unhealthyThreshold: 3,
  httpMethod: 'HEAD',
  httpPath: '/',
  httpCodes: 31,
} as const;

/** Nobody has to create it: a server that answers "access denied" is alive. */
export const MYSQL_PROBE_USER = 'openclb';

const D = HEALTH_CHECK_DEFAULTS;

export const HealthCheck = Type.Object(
  {
    enabled: Type.Optional(Type.Boolean({ default: D.enabled, description: 'Off: every target gets traffic' })),
    type: Type.Optional(
      Type.Enum(['tcp', 'udp', 'icmp', 'http', 'mysql'], {
        default: D.type,
        description:
          'tcp: SYN, SYN/ACK, RST. http: a request and its status class. mysql: a login (proxies; directors do tcp)',
      }),
    ),
    intervalSeconds: Type.Optional(
      Type.Integer({ minimum: 2, maximum: 300, default: D.intervalSeconds, description: 'Seconds between probes' }),
    ),
    timeoutSeconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 60,
        default: D.timeoutSeconds,
        description: 'Seconds to wait for an answer; less than the interval',
      }),
    ),
    healthyThreshold: Type.Optional(
      Type.Integer({
        minimum: 2,
        maximum: 10,
        default: D.healthyThreshold,
        description: 'Good answers in a row that make a target alive',
      }),
    ),
    unhealthyThreshold: Type.Optional(
      Type.Integer({
        minimum: 2,
        maximum: 10,
        default: D.unhealthyThreshold,
        description: 'Failures in a row that make a target dead',
      }),
    ),
    mysqlUser: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 80,
        pattern: '^[!-~]+$',
        description: 'User of a mysql probe, who needs neither password nor rights; an unknown one is good enough',
      }),
    ),
    port: Type.Optional({ ...Port, description: "Port to probe; the target's own port when absent" }),
    httpMethod: Type.Optional(
      Type.Enum(['HEAD', 'GET'], { default: D.httpMethod, description: 'Method of an http probe' }),
    ),
    httpPath: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 200,
        pattern: '^/',
        default: D.httpPath,
        description: 'Path of an http probe',
      }),
    ),
    httpDomain: Type.Optional(
      Type.String({ minLength: 1, maxLength: 80, description: 'Host header of an http probe' }),
    ),
    httpCodes: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 31,
        default: D.httpCodes,
        description: 'Status classes that count as alive: 1 = 1xx, 2 = 2xx, 4 = 3xx, 8 = 4xx, 16 = 5xx',
      }),
    ),
  },
  { ...closed, description: 'Health check of a target group' },
);
export type HealthCheck = Static<typeof HealthCheck>;

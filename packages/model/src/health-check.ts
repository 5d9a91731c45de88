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
      Type.Enum(['tcp', 'udp', 'icmp', 'http', 'https', 'grpc', 'grpcs', 'mysql'], {
        default: D.type,
        description:
          'tcp: SYN, SYN/ACK, RST. http, https: a request and its status class. grpc, grpcs: grpc.health.v1. mysql: a login. Directors probe the last five by tcp',
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
    httpVersion: Type.Optional(
      Type.Enum(['1.0', '1.1'], { default: '1.1', description: 'Version of an http probe; 1.0 needs no Host' }),
    ),
    httpBody: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 500,
        description: 'Text that the body of a GET probe must hold, within its first 64 KiB',
      }),
    ),
    grpcService: Type.Optional(
      Type.String({
        maxLength: 200,
        pattern: '^[0-9A-Za-z_./-]*$',
        description: 'Service that a grpc probe asks for; the whole server if absent',
      }),
    ),
    grpcCodes: Type.Optional(
      Type.String({
        maxLength: 60,
        pattern: '^[0-9]{1,2}(-[0-9]{1,2})?(,[0-9]{1,2}(-[0-9]{1,2})?)*$',
        description: 'gRPC statuses that count as alive beside SERVING, such as 12 of a server without health service',
      }),
    ),
  },
  { ...closed, description: 'Health check of a target group' },
);
export type HealthCheck = Static<typeof HealthCheck>;

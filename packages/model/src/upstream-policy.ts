// How a rule speaks to its targets: protocol, time-outs, retries, hedging, mirroring (layer7.md 1, tencent-cloud.md C-P0 ForwardType).
import { type Static, Type } from 'typebox';

const closed = { additionalProperties: false } as const;
const Milliseconds = (description: string, defaultMs?: number) =>
  Type.Integer({
    minimum: 10,
    maximum: 3_600_000,
    ...(defaultMs === undefined ? {} : { default: defaultMs }),
    description,
  });

export const Forward = Type.Object(
  {
    type: Type.Enum(['http', 'https', 'grpc', 'grpcs'], {
      description: 'http and https: HTTP/1.1. grpc and grpcs: HTTP/2, in plain by prior knowledge or over TLS',
    }),
    serverName: Type.Optional(
      Type.String({
        maxLength: 253,
        pattern: '^[0-9A-Za-z_.-]+$',
        description: 'Name for SNI and verification over TLS; none is sent if absent',
      }),
    ),
    verify: Type.Optional(
      Type.Boolean({ default: false, description: 'Refuses a target whose certificate is not valid for `serverName`' }),
    ),
    authority: Type.Optional(
      Type.String({
        maxLength: 65_536,
        pattern: '^-----BEGIN CERTIFICATE-----',
        description: "PEM certificates that `verify` trusts; the system's own if absent",
      }),
    ),
  },
  { ...closed, description: 'Protocol of the targets; http if absent' },
);
export type Forward = Static<typeof Forward>;

export const UPSTREAM_TIMEOUTS = { connectMs: 4000, sendMs: 60_000, firstByteMs: 60_000, readMs: 60_000 } as const;

export const UpstreamTimeouts = Type.Object(
  {
    connectMs: Type.Optional(
      Milliseconds('Until a connection to the target stands, its TLS handshake included', UPSTREAM_TIMEOUTS.connectMs),
    ),
    sendMs: Type.Optional(Milliseconds('While the target takes nothing of a request', UPSTREAM_TIMEOUTS.sendMs)),
    firstByteMs: Type.Optional(
      Milliseconds('From the request sent to the first byte of the answer', UPSTREAM_TIMEOUTS.firstByteMs),
    ),
    readMs: Type.Optional(Milliseconds('Between two reads of an answer', UPSTREAM_TIMEOUTS.readMs)),
    tunnelIdleMs: Type.Optional(
      Milliseconds('A WebSocket or other tunnel on which neither side says anything', 900_000),
    ),
    requestMs: Type.Optional(Milliseconds('The whole request, all tries together; no limit if absent')),
  },
  { ...closed, description: 'Time-outs towards the targets' },
);
export type UpstreamTimeouts = Static<typeof UpstreamTimeouts>;

export const RETRY_DEFAULTS = { tries: 2, budgetPercent: 20, minPerSecond: 10, bodyBytesMax: 65_536 } as const;

export const Retry = Type.Object(
  {
    tries: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 5,
        default: RETRY_DEFAULTS.tries,
        description: 'Targets tried for one request, the first included; never one twice',
      }),
    ),
    on: Type.Optional(
      Type.Array(Type.Enum(['connect', 'reset', 'timeout', 'malformed']), {
        uniqueItems: true,
        description:
          'connect: no connection. reset: lost before an answer. timeout: perTryMs or firstByteMs passed. connect and reset if absent',
      }),
    ),
    statuses: Type.Optional(
      Type.Array(Type.Integer({ minimum: 400, maximum: 599 }), {
        maxItems: 32,
        uniqueItems: true,
        description: 'Answers of a target after which another one is asked, such as 502, 503, 504',
      }),
    ),
    methods: Type.Optional(
      Type.Array(Type.Enum(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'POST', 'PATCH']), {
        uniqueItems: true,
        description: 'Methods that may reach targets twice; GET, HEAD, OPTIONS, PUT and DELETE if absent',
      }),
    ),
    perTryMs: Type.Optional(Milliseconds('Until the first byte of an answer, each try')),
    bodyBytesMax: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 1_048_576,
        default: RETRY_DEFAULTS.bodyBytesMax,
        description: 'A request with a longer body is not repeated once it was sent',
      }),
    ),
    budgetPercent: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 100,
        default: RETRY_DEFAULTS.budgetPercent,
        description: 'Share of the requests in flight that may be retries, each proxy',
      }),
    ),
    minPerSecond: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 10_000,
        default: RETRY_DEFAULTS.minPerSecond,
        description: 'Retries a second that the share never forbids, each proxy',
      }),
    ),
  },
  { ...closed, description: 'When a request is tried on another target. Where nothing was sent it may be any request' },
);
export type Retry = Static<typeof Retry>;

export const Hedge = Type.Object(
  {
    delayMs: Type.Optional(Milliseconds('Without an answer for so long, a second target is asked as well')),
    percentile: Type.Optional(
      Type.Integer({
        minimum: 50,
        maximum: 99,
        description: 'Instead of `delayMs`: the time in which this share of recent answers began',
      }),
    ),
    budgetPercent: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 100,
        default: 10,
        description: 'Share of the requests in flight that may be hedged, each proxy',
      }),
    ),
  },
  {
    ...closed,
    description: 'Asks two targets where one is slow and the method is idempotent; the slower one is cancelled',
  },
);
export type Hedge = Static<typeof Hedge>;

export const Mirror = Type.Object(
  {
    targetGroup: Type.String({
      minLength: 1,
      maxLength: 64,
      description: 'Id of the group that gets copies of requests',
    }),
    percent: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 100, default: 100, description: 'Share of requests that are copied' }),
    ),
    bodyBytesMax: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 1_048_576,
        default: 65_536,
        description: 'Requests with longer bodies are not copied',
      }),
    ),
    inFlightMax: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10_000,
        default: 100,
        description: 'Copies at once, each proxy; what exceeds them is not copied',
      }),
    ),
  },
  { ...closed, description: 'Copies requests to another group, whose answers are thrown away' },
);
export type Mirror = Static<typeof Mirror>;

// Messages between controller and nodes (walk 3). Controller → node is one HTTP response that never ends, a JSON object a line
// (`GET /link/v1/nodes/<id>/stream`); node → controller are POSTs of one message (`/link/v1/nodes/<id>/messages`).
// Only the newest image matters: intermediate ones are skipped (B12). A node accepts version N and N−1 (B14).
import { type Static, Type } from 'typebox';
import { CheckSpec, Generation, Image } from './image.ts';
import { LogPage, LogQuery } from './log.ts';
import { DrainAnswer, LookAnswer, LookQuery } from './look.ts';
import { ShadowCounts } from './shadow.ts';

/** Raised with every change that an older node could misread. */
export const LINK_VERSION = 1;

const closed = { additionalProperties: false } as const;

/** Which packet to explain. Addresses and ports as the client would send them. */
export const ExplainQuery = Type.Object(
  {
    protocol: Type.Enum(['tcp', 'udp', 'icmp']),
    source: Type.String({ maxLength: 45 }),
    sourcePort: Type.Integer({ minimum: 0, maximum: 65535 }),
    destination: Type.String({ maxLength: 45 }),
    destinationPort: Type.Integer({ minimum: 0, maximum: 65535 }),
    /** TCP only: a SYN (default), or a packet of an established connection. */
    flags: Type.Optional(Type.Enum(['syn', 'ack'])),
  },
  closed,
);
export type ExplainQuery = Static<typeof ExplainQuery>;

/** Which request to explain, as a client would send it. */
export const RequestQuery = Type.Object(
  {
    method: Type.String({ pattern: '^[A-Z][A-Z-]{0,31}$', description: 'Method' }),
    url: Type.String({
      maxLength: 8192,
      pattern: '^https?://[!-~]+$',
      description: 'Scheme, host, port, path and query',
    }),
    headers: Type.Optional(
      Type.Array(Type.Tuple([Type.String({ maxLength: 256 }), Type.String({ maxLength: 8192 })]), {
        maxItems: 100,
        description: 'Header fields as pairs of name and value',
      }),
    ),
    client: Type.Optional(Type.String({ maxLength: 45, description: 'Client address; 192.0.2.1 when absent' })),
    vip: Type.Optional(
      Type.String({ maxLength: 45, description: 'VIP that is called; any that listens there when absent' }),
    ),
  },
  closed,
);
export type RequestQuery = Static<typeof RequestQuery>;

/** One step of a packet's walk: the file in `assembly/path` that took it, what it saw, and why. */
export const ExplainStep = Type.Object(
  { step: Type.String(), text: Type.String(), data: Type.Record(Type.String(), Type.Unknown()) },
  closed,
);
export type ExplainStep = Static<typeof ExplainStep>;

export const ExplainAnswer = Type.Object(
  {
    node: Type.String(),
    generation: Generation,
    verdict: Type.String(),
    reason: Type.String(),
    steps: Type.Array(ExplainStep),
  },
  closed,
);
export type ExplainAnswer = Static<typeof ExplainAnswer>;

/** Controller → node. */
export const ToNode = Type.Union([
  Type.Object(
    { version: Type.Literal(LINK_VERSION), type: Type.Literal('image'), hash: Type.String(), image: Image },
    closed,
  ),
  Type.Object({ version: Type.Literal(LINK_VERSION), type: Type.Literal('ping') }, closed),
  Type.Object(
    { version: Type.Literal(LINK_VERSION), type: Type.Literal('explain'), request: Type.String(), query: ExplainQuery },
    closed,
  ),
  Type.Object({ version: Type.Literal(LINK_VERSION), type: Type.Literal('counters'), request: Type.String() }, closed),
  Type.Object(
    { version: Type.Literal(LINK_VERSION), type: Type.Literal('logs'), request: Type.String(), query: LogQuery },
    closed,
  ),
  /** A candidate decides beside the active image; `image` comes with `start`. */
  Type.Object(
    {
      version: Type.Literal(LINK_VERSION),
      type: Type.Literal('shadow'),
      request: Type.String(),
      action: Type.Enum(['start', 'stop', 'report']),
      image: Type.Optional(Image),
    },
    closed,
  ),
  Type.Object(
    {
      version: Type.Literal(LINK_VERSION),
      type: Type.Literal('explain-request'),
      request: Type.String(),
      query: RequestQuery,
    },
    closed,
  ),
  Type.Object(
    { version: Type.Literal(LINK_VERSION), type: Type.Literal('look'), request: Type.String(), query: LookQuery },
    closed,
  ),
  Type.Object(
    {
      version: Type.Literal(LINK_VERSION),
      type: Type.Literal('drain'),
      request: Type.String(),
      draining: Type.Boolean(),
    },
    closed,
  ),
]);
export type ToNode = Static<typeof ToNode>;

/** Health of one target as one node sees it. */
export const HealthReport = Type.Object(
  { target: Type.String(), group: Type.String(), state: Type.Enum(['alive', 'dead', 'probing', 'unknown']) },
  closed,
);
export type HealthReport = Static<typeof HealthReport>;

/** Node → controller. */
export const FromNode = Type.Union([
  /** First message after connecting, and every 5 s: keeps the node's lease. `port` says what carries the packets. */
  Type.Object(
    {
      version: Type.Literal(LINK_VERSION),
      type: Type.Literal('alive'),
      port: Type.Optional(Type.String()),
      /** Told to take no new flows (`clb ld drain`). */
      draining: Type.Optional(Type.Boolean()),
      applied: Type.Union([Generation, Type.Null()]),
      hash: Type.Union([Type.String(), Type.Null()]),
    },
    closed,
  ),
  Type.Object(
    { version: Type.Literal(LINK_VERSION), type: Type.Literal('applied'), generation: Generation, hash: Type.String() },
    closed,
  ),
  Type.Object(
    {
      version: Type.Literal(LINK_VERSION),
      type: Type.Literal('refused'),
      generation: Generation,
      hash: Type.String(),
      reason: Type.String(),
    },
    closed,
  ),
  Type.Object(
    { version: Type.Literal(LINK_VERSION), type: Type.Literal('health'), reports: Type.Array(HealthReport) },
    closed,
  ),
  Type.Object(
    {
      version: Type.Literal(LINK_VERSION),
      type: Type.Literal('explained'),
      request: Type.String(),
      answer: ExplainAnswer,
    },
    closed,
  ),
  Type.Object(
    {
      version: Type.Literal(LINK_VERSION),
      type: Type.Literal('counted'),
      request: Type.String(),
      counters: Type.Record(Type.String(), Type.Number()),
    },
    closed,
  ),
  Type.Object(
    {
      version: Type.Literal(LINK_VERSION),
      type: Type.Literal('shadowed'),
      request: Type.String(),
      report: Type.Union([ShadowCounts, Type.Null()]),
      error: Type.Optional(Type.String()),
    },
    closed,
  ),
  Type.Object(
    { version: Type.Literal(LINK_VERSION), type: Type.Literal('logged'), request: Type.String(), page: LogPage },
    closed,
  ),
  Type.Object(
    { version: Type.Literal(LINK_VERSION), type: Type.Literal('looked'), request: Type.String(), answer: LookAnswer },
    closed,
  ),
  Type.Object(
    { version: Type.Literal(LINK_VERSION), type: Type.Literal('drained'), request: Type.String(), answer: DrainAnswer },
    closed,
  ),
]);
export type FromNode = Static<typeof FromNode>;

/**
 * One target group as a client-side balancer gets it (`GET /link/v1/services/<target group>?vpc=<id>&tag=<tag>`): a long poll that is
 * answered when the tag differs, and with 204 when nothing has changed for 25 s.
 */
export const ServiceAnswer = Type.Object(
  {
    tag: Type.String({ minLength: 1, maxLength: 64 }),
    targets: Type.Array(
      Type.Object(
        {
          address: Type.String({ maxLength: 45 }),
          port: Type.Integer({ minimum: 1, maximum: 65535 }),
          weight: Type.Integer({ minimum: 0, maximum: 100 }),
        },
        closed,
      ),
    ),
    check: CheckSpec,
  },
  closed,
);
export type ServiceAnswer = Static<typeof ServiceAnswer>;

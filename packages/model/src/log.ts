// Access logs: the variables that one exchange leaves behind (tencent-cloud.md E6, and our own), what a query for them looks
// like, and what comes back. The query language is in `log-query.ts`.
import { type Static, Type } from 'typebox';

const closed = { additionalProperties: false } as const;

export interface LogField {
  readonly type: 'text' | 'number';
  readonly description: string;
}

/** Variables of formats, columns of the store and fields of queries, under one name each. Times are seconds. */
export const LOG_FIELDS = {
  stgw_request_id: { type: 'text', description: 'Id of the request, 32 hex digits' },
  time_local: { type: 'text', description: 'When the request head was complete, ISO 8601' },
  protocol_type: { type: 'text', description: 'HTTP, HTTPS, HTTP2, WS or WSS' },
  server_addr: { type: 'text', description: 'VIP' },
  server_port: { type: 'number', description: 'Port of the VIP' },
  server_name: { type: 'text', description: 'Domain of the rule that took it' },
  remote_addr: { type: 'text', description: 'Client address' },
  remote_port: { type: 'number', description: 'Client port' },
  status: { type: 'number', description: 'Status that the client got; 499: it left before' },
  upstream_addr: { type: 'text', description: 'address:port of the target that was used last' },
  upstream_status: { type: 'number', description: 'Status of the target; 0: it gave none' },
  proxy_host: { type: 'text', description: 'Target group' },
  request: { type: 'text', description: 'Method, target and version' },
  request_method: { type: 'text', description: 'Method' },
  request_uri: { type: 'text', description: 'Path with query' },
  uri: { type: 'text', description: 'Path without query' },
  request_length: { type: 'number', description: 'Bytes of the request, head and body' },
  bytes_sent: { type: 'number', description: 'Bytes of the response, head and body' },
  http_host: { type: 'text', description: 'Host as the client wrote it' },
  host: { type: 'text', description: 'Host in lower case without port' },
  http_user_agent: { type: 'text', description: 'User-Agent' },
  http_referer: { type: 'text', description: 'Referer' },
  request_time: { type: 'number', description: 'From the complete request head to the end' },
  upstream_response_time: { type: 'number', description: 'From choosing the target to the end; −1 without one' },
  upstream_connect_time: { type: 'number', description: 'Until the target was connected; 0 on a kept connection' },
  upstream_header_time: { type: 'number', description: 'From choosing the target to the first byte of its answer' },
  tcpinfo_rtt: { type: 'number', description: 'Always 0: the platform does not tell' },
  connection: { type: 'number', description: 'Number of the client connection' },
  connection_requests: { type: 'number', description: 'Requests on it so far' },
  ssl_handshake_time: { type: 'number', description: 'TLS handshake; 0 in plain' },
  ssl_cipher: { type: 'text', description: 'Cipher suite' },
  ssl_protocol: { type: 'text', description: 'TLS version' },
  ssl_session_reused: { type: 'text', description: 'r: resumed, a dot: not' },
  vip_vpcid: { type: 'number', description: 'VPC of the VIP; −1: public' },
  load_balancer: { type: 'text', description: 'Load balancer' },
  listener: { type: 'text', description: 'Listener' },
  rule: { type: 'text', description: 'Rule' },
  attempts: { type: 'number', description: 'Targets tried' },
  grpc_status: { type: 'number', description: 'Status of a gRPC answer; -1: none' },
  failure: { type: 'text', description: 'Code of what went wrong; empty: nothing' },
} as const satisfies Record<string, LogField>;
export type LogFieldName = keyof typeof LOG_FIELDS;

/** Variables of health records (tencent-cloud.md E6). */
export const HEALTH_LOG_FIELDS = {
  time: { type: 'text', description: 'When the verdict changed, ISO 8601' },
  protocol: { type: 'text', description: 'Protocol of the listener' },
  vip: { type: 'text', description: 'VIP' },
  vport: { type: 'number', description: 'Port of the VIP' },
  vpcid: { type: 'number', description: 'VPC of the VIP; −1: public' },
  rsip: { type: 'text', description: 'Address of the target' },
  rsport: { type: 'number', description: 'Port of the target' },
  rs_vpcid: { type: 'number', description: 'VPC of the target; 0: underlay' },
  status: { type: 'text', description: 'true: alive from now on' },
  domain: { type: 'text', description: 'Domain of the rule' },
  url: { type: 'text', description: 'Path of the rule' },
  reason: { type: 'text', description: 'Why the last probe failed' },
} as const satisfies Record<string, LogField>;
export type HealthLogFieldName = keyof typeof HEALTH_LOG_FIELDS;

/** Connections that a relay joined to a target, and UDP sessions; a record each, when it is over. */
export const CONNECTION_LOG_FIELDS = {
  time: { type: 'text', description: 'When it began, ISO 8601' },
  protocol: { type: 'text', description: 'TCP, TCP_SSL or UDP' },
  listener: { type: 'text', description: 'Listener' },
  server_addr: { type: 'text', description: 'VIP' },
  server_port: { type: 'number', description: 'Port of the VIP' },
  remote_addr: { type: 'text', description: 'Client address' },
  remote_port: { type: 'number', description: 'Client port' },
  upstream_addr: { type: 'text', description: 'address:port of the target; empty: none took it' },
  attempts: { type: 'number', description: 'Targets tried' },
  bytes_received: { type: 'number', description: 'Bytes from the client' },
  bytes_sent: { type: 'number', description: 'Bytes to the client' },
  duration: { type: 'number', description: 'Seconds from its beginning to its end' },
  failure: { type: 'text', description: 'Why it came to nothing or was cut off; empty after a proper end' },
} as const satisfies Record<string, LogField>;
export type ConnectionLogFieldName = keyof typeof CONNECTION_LOG_FIELDS;

/** The logs that can be asked, and their fields. */
export const LOG_KINDS = {
  access: LOG_FIELDS,
  health: HEALTH_LOG_FIELDS,
  connection: CONNECTION_LOG_FIELDS,
} as const satisfies Record<string, Readonly<Record<string, LogField>>>;
export type LogKind = keyof typeof LOG_KINDS;

export const LOG_LIMITS = { whereCharsMax: 1000, rowsMax: 1000, rowsDefault: 100, followRowsMax: 1000 } as const;

/** A query for what one node has stored. */
export const LogQuery = Type.Object(
  {
    kind: Type.Optional(Type.Enum(['access', 'health', 'connection'], { default: 'access', description: 'Which log' })),
    since: Type.Optional(Type.Integer({ minimum: 0, description: 'Not before, milliseconds since the epoch' })),
    until: Type.Optional(Type.Integer({ minimum: 0, description: 'Before, milliseconds since the epoch' })),
    where: Type.Optional(
      Type.String({
        maxLength: LOG_LIMITS.whereCharsMax,
        description: "Conditions: status>=500 and domain=a.test and not path ~ '/health'",
      }),
    ),
    limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: LOG_LIMITS.rowsMax,
        default: LOG_LIMITS.rowsDefault,
        description: 'The newest so many',
      }),
    ),
    after: Type.Optional(
      Type.Integer({ minimum: 0, description: 'Rows that were stored after this one, oldest first' }),
    ),
  },
  { ...closed, description: 'Which rows of the log' },
);
export type LogQuery = Static<typeof LogQuery>;

/** What one node answers. `last` is the number of its newest row, to go on from. */
export const LogPage = Type.Object(
  {
    rows: Type.Array(Type.Record(Type.String(), Type.Union([Type.String(), Type.Number()]))),
    last: Type.Integer({ minimum: 0 }),
    /** Rows that were thrown away because the store did not keep up. */
    lost: Type.Integer({ minimum: 0 }),
    error: Type.Optional(Type.String()),
  },
  closed,
);
export type LogPage = Static<typeof LogPage>;

/** Rows of several nodes together, in the order of time. */
export const LogAnswer = Type.Object(
  {
    items: Type.Array(Type.Record(Type.String(), Type.Union([Type.String(), Type.Number()]))),
    cursor: Type.String({ description: 'Give it back to get what came since' }),
    nodes: Type.Array(
      Type.Object(
        {
          node: Type.String(),
          rows: Type.Integer({ minimum: 0 }),
          lost: Type.Integer({ minimum: 0, description: 'Rows thrown away since the node started' }),
          error: Type.Optional(Type.String({ description: 'Why this node has none' })),
        },
        closed,
      ),
    ),
  },
  { ...closed, description: 'Rows of the access or health log' },
);
export type LogAnswer = Static<typeof LogAnswer>;

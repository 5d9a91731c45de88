// Every limit and time-out of the proxy by name, with Tencent's defaults where it has one (tencent-cloud.md E2, E4).

export interface Limits {
  /** Start line and fields together; more is 431. */
  readonly headBytesMax: number;
  /** A request target longer than this is 414. */
  readonly targetBytesMax: number;
  /** A response head longer than this is 502. */
  readonly responseHeadBytesMax: number;
  /** A request body longer than this is 413. */
  readonly bodyBytesMax: number;
  /** Requests on one client connection; the last one is answered with `Connection: close`. */
  readonly requestsPerConnectionMax: number;
  /** Streams at once of one HTTP/2 connection. */
  readonly h2StreamsMax: number;
  /** Bytes of a request body that a client may send before a target has taken them; per HTTP/2 stream. */
  readonly h2WindowBytes: number;
  /** Name and value of one field of an HTTP/2 request. */
  readonly h2FieldBytesMax: number;
  /** Unanswered streams that an HTTP/2 client may cut off in a burst; more ends its connection (CVE-2023-44487). */
  readonly h2ResetsMax: number;
  /** Pipelined bytes kept while an earlier request is being answered. */
  readonly pipelinedBytesMax: number;
  /** Client connections of one listening socket. */
  readonly connectionsMax: number;
  /** Idle connections kept to one target. */
  readonly idlePerTargetMax: number;
  /** Connections to one target, idle and busy. */
  readonly connectionsPerTargetMax: number;
  /** HTTP/2 connections to one target, each way of speaking to it. */
  readonly h2SessionsPerTargetMax: number;
  /** Streams at once that we open on one of them, where the target allows more. */
  readonly h2UpstreamStreamsMax: number;
  /** Bytes of an answer that a target may send before the client has taken them; per HTTP/2 stream. */
  readonly h2UpstreamWindowBytes: number;
  /** Targets tried for one request, the first included. */
  readonly attemptsMax: number;
  readonly connectTimeoutMs: number;
  /** Between two reads of a response. */
  readonly readTimeoutMs: number;
  /** While the client reads nothing of what waits for it. */
  readonly sendTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  /** From the first byte of a head to its last. */
  readonly headTimeoutMs: number;
  /** Between two reads of a request body. */
  readonly bodyTimeoutMs: number;
  /** A tunnel on which neither side says anything. */
  readonly tunnelIdleMs: number;
  readonly upstreamIdleMs: number;
  /** Failures of a target within `failWindowMs` after which it rests for as long (nginx's max_fails and fail_timeout); 0: never. */
  readonly failuresMax: number;
  readonly failWindowMs: number;
  /** How long input is read and thrown away after an early answer, so that the client can read it. */
  readonly lingerMs: number;
  readonly handshakeTimeoutMs: number;
  /** How long `close` waits for exchanges in flight. */
  readonly drainMs: number;
}

export const DEFAULT_LIMITS: Limits = {
  headBytesMax: 32 * 1024,
  targetBytesMax: 16 * 1024,
  responseHeadBytesMax: 64 * 1024,
  bodyBytesMax: 60 * 1024 * 1024,
  requestsPerConnectionMax: 10_000,
  h2StreamsMax: 128,
  h2WindowBytes: 64 * 1024 - 1,
  h2FieldBytesMax: 32 * 1024,
  h2ResetsMax: 200,
  pipelinedBytesMax: 64 * 1024,
  connectionsMax: 100_000,
  idlePerTargetMax: 256,
  connectionsPerTargetMax: 50_000,
  h2SessionsPerTargetMax: 64,
  h2UpstreamStreamsMax: 256,
  h2UpstreamWindowBytes: 256 * 1024,
  attemptsMax: 3,
  connectTimeoutMs: 4_000,
  readTimeoutMs: 60_000,
  sendTimeoutMs: 60_000,
  keepAliveTimeoutMs: 75_000,
  headTimeoutMs: 60_000,
  bodyTimeoutMs: 60_000,
  tunnelIdleMs: 900_000,
  upstreamIdleMs: 60_000,
  failuresMax: 3,
  failWindowMs: 10_000,
  lingerMs: 5_000,
  handshakeTimeoutMs: 10_000,
  drainMs: 10_000,
};

/** Fields in one head; more is 431 (request) or 502 (response). */
export const FIELDS_MAX = 128;
/** Names that Connection may list beside its own; each costs a look at every field. */
export const NOMINATED_MAX = 32;
/** Interim (1xx) responses before a final one. */
export const INTERIM_MAX = 32;
/** Chunk extensions and trailers of one body together. */
export const CHUNK_OVERHEAD_BYTES_MAX = 16 * 1024;
/** A FIN this soon after the request's last byte is a half-close; a later one is a client that gave up (see `downstream.ts`). */
export const HALF_CLOSE_MS = 5;

// What an operator may look at in a running director (`clb ld`, `clb capture`): the questions, and the rows that come back.
// Rows are read from the live tables, not from the configuration, and every answer is a bounded page.
import { type Static, Type } from 'typebox';
import { closed } from './ids.ts';

export const LOOK_ROWS_MAX = 1_000;
/** Frames of one page of a capture: at most so many, and their bytes stay far below the largest message of the link. */
export const CAPTURE_ROWS_MAX = 256;

export const LookFilter = Type.Object(
  {
    client: Type.Optional(Type.String({ maxLength: 49, description: 'Client address or CIDR' })),
    vip: Type.Optional(Type.String({ maxLength: 52, description: 'VIP, or VIP:vport' })),
    target: Type.Optional(Type.String({ maxLength: 52, description: 'Target address, or address:port' })),
    state: Type.Optional(Type.String({ maxLength: 20, description: 'State of the flow, such as Established' })),
    protocol: Type.Optional(Type.Enum(['tcp', 'udp', 'icmp', 'icmpv6', 'sctp'], { description: 'Protocol' })),
    verdict: Type.Optional(
      Type.Enum(['forward', 'drop', 'punt', 'consumed', 'held'], { description: 'Captures: verdict of the packet' }),
    ),
    reason: Type.Optional(Type.String({ maxLength: 40, description: 'Captures: reason of the verdict' })),
  },
  { ...closed, description: 'Which rows are wanted; all parts must hold' },
);
export type LookFilter = Static<typeof LookFilter>;

export const LookQuery = Type.Object(
  {
    what: Type.Enum(['listeners', 'flows', 'targets', 'counters', 'tunnels', 'routes', 'neighbours', 'capture'], {
      description: 'Which table',
    }),
    filter: Type.Optional(LookFilter),
    cursor: Type.Optional(Type.Integer({ minimum: 0, description: 'Where to go on: `next` of the last answer' })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: LOOK_ROWS_MAX, description: 'Most rows in the answer' })),
    session: Type.Optional(
      Type.String({
        pattern: '^[0-9a-f-]{1,36}$',
        description: 'Captures: names the capture; the first page starts it',
      }),
    ),
  },
  closed,
);
export type LookQuery = Static<typeof LookQuery>;

export const LookRequest = Type.Object(
  {
    ...LookQuery.properties,
    node: Type.Optional(Type.String({ maxLength: 64, description: 'Which director to ask; any live one when absent' })),
  },
  { ...closed, description: 'A page of a table of a director' },
);
export type LookRequest = Static<typeof LookRequest>;

export const LookAnswer = Type.Object(
  {
    node: Type.String(),
    rows: Type.Array(Type.Record(Type.String(), Type.Unknown())),
    next: Type.Union([Type.Integer(), Type.Null()], {
      description: 'Cursor of the next page, which may be empty though it is not the last; null at the end',
    }),
    error: Type.Optional(Type.String({ description: 'Why there is no answer' })),
    missed: Type.Optional(Type.Integer({ description: 'Captures: packets that matched and found no room' })),
  },
  { ...closed, description: 'Rows of a table of a director' },
);
export type LookAnswer = Static<typeof LookAnswer>;

export const DrainRequest = Type.Object(
  { draining: Type.Boolean({ description: 'True: take no new flows; false: serve again' }) },
  { ...closed, description: 'Whether a director takes new flows; forgotten when it restarts' },
);
export type DrainRequest = Static<typeof DrainRequest>;

export const DrainAnswer = Type.Object(
  { node: Type.String(), draining: Type.Boolean(), flows: Type.Integer({ description: 'Flows that it still has' }) },
  { ...closed, description: 'What a director says of itself after it was told to drain' },
);
export type DrainAnswer = Static<typeof DrainAnswer>;

/** Traffic since the worker started, in packets, bytes and flows. */
export interface LookTraffic {
  readonly packetsIn: number;
  readonly bytesIn: number;
  readonly packetsOut: number;
  readonly bytesOut: number;
  readonly flowsCreated: number;
}

/** Active: established, or of UDP replied to. Inactive: everything else, as ipvsadm has it. */
export interface LookTarget extends LookTraffic {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly net: number;
  readonly forward: string;
  readonly weight: number;
  readonly health: string;
  readonly active: number;
  readonly inactive: number;
}

export interface LookListener extends LookTraffic {
  readonly name: string;
  readonly protocol: string;
  readonly vip: string;
  readonly vport: number;
  readonly net: number;
  readonly scheduler: string;
  readonly targets: readonly LookTarget[];
}

export interface LookFlow {
  readonly protocol: string;
  readonly client: string;
  readonly clientPort: number;
  readonly vip: string;
  readonly vport: number;
  readonly net: number;
  readonly target: string;
  readonly targetPort: number;
  readonly state: string;
  readonly worker: number;
  readonly ageMs: number;
  readonly idleMs: number;
  readonly packetsIn: number;
  readonly packetsOut: number;
  readonly flags: readonly string[];
}

/** One packet of a capture: the frame as the worker left it, and what the walk found out. */
export interface LookFrame {
  /** Nanoseconds since 1970, as decimal text. */
  readonly at: string;
  readonly direction: 'inbound' | 'outbound';
  readonly device: string;
  /** Base64. */
  readonly frame: string;
  readonly bytes: number;
  /** False: the frame begins with the IP header. */
  readonly ethernet: boolean;
  readonly comment: string;
}

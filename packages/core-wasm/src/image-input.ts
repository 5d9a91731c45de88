// What the core needs of a director's image; ids are stable, and the rows refer to each other by them (data-plane.md P5).
import type { AccessListInput } from './access-lists.ts';

/** Addresses of one thing in both families. */
export interface AddressPair {
  readonly v4?: string | undefined;
  readonly v6?: string | undefined;
}

/** A listener (net, VIP, port, protocol), how it translates and which group it serves. */
export interface ListenerInput {
  readonly id: string;
  readonly net: number;
  readonly vip: string;
  readonly vport: number;
  readonly protocol: number;
  readonly translation: 'none' | 'dnat' | 'fullnat';
  readonly scheduler: 'maglev' | 'wrr' | 'ip-hash' | 'least-connections';
  readonly group: string;
  readonly directReturn: boolean;
  readonly idleSeconds: number;
  readonly onRemove: 'run' | 'reset' | 'reschedule';
  /** How long a client keeps its target for new flows (P34); not at all by default. */
  readonly stickySeconds?: number | undefined;
  /** New flows a second that each worker lets in; no limit by default. */
  readonly newFlowsPerSecond?: number | undefined;
  /** Age in seconds from which the peers hear of a flow; 5 by default. */
  readonly syncAfterSeconds?: number | undefined;
  /** What a client gets whose connection no director knows; a reset by default. */
  readonly onUnknown?: 'reset' | 'drop' | undefined;
  /** Whether the director answers SYNs itself (P26); off by default. */
  readonly synProxy?: 'off' | 'on' | 'auto' | undefined;
  /** SYNs a second of this director from which `auto` does. */
  readonly synRate?: number | undefined;
  /** Groups by the name that a client asks for, exact or with `*.` in front; all others go to `group` (P27). */
  readonly domains?: readonly { readonly domain: string; readonly group: string }[] | undefined;
  /** Rows of one name are one service, with one meter; the id when absent. */
  readonly name?: string | undefined;
  /** Id of the access list that new flows must pass. */
  readonly access?: string | undefined;
}

/** A target as an image names it: where it lives, and the tunnel that leads there. */
export interface TargetInput {
  readonly id: string;
  readonly net: number;
  readonly address: string;
  readonly port: number;
  readonly encapsulation: 'none' | 'l2' | 'ipip' | 'gre';
  readonly host: string | null;
}

/** A target group: its members, their weights, and the size of its Maglev table. */
export interface GroupInput {
  readonly id: string;
  readonly slots: number;
  readonly targets: readonly { readonly target: string; readonly weight: number }[];
  readonly check: { readonly type: string };
}

/** What the core needs of a director's image; @openclb/model's DirectorImage is one. */
export interface DirectorTables {
  readonly self: { readonly id: string; readonly ordinal: number };
  readonly tunnels: readonly ({ readonly node: string; readonly worker: number } & AddressPair)[];
  readonly anycast: AddressPair;
  readonly probe: AddressPair;
  readonly vips: readonly { readonly net: number; readonly address: string }[];
  readonly listeners: readonly ListenerInput[];
  readonly groups: readonly GroupInput[];
  readonly targets: readonly TargetInput[];
  readonly hosts: readonly ({ readonly id: string } & AddressPair)[];
  readonly eips: readonly {
    readonly id: string;
    readonly eip: string;
    readonly net: number;
    readonly address: string;
    readonly host: string;
  }[];
  readonly trusted: readonly string[];
  /** Lists that `access` of a listener names. */
  readonly accessLists?: readonly AccessListInput[] | undefined;
  /** The other directors, and the key of what they send each other (P9); none by default. */
  readonly peers?: readonly ({ readonly ordinal: number } & AddressPair)[] | undefined;
  /** 16 bytes. */
  readonly peerKey?: Uint8Array | undefined;
  /** Local addresses and ports of full NAT (P18); 16 addresses with all ports from 1,024 on by default. */
  readonly pool?: { readonly addresses: number; readonly firstPort: number; readonly ports: number } | undefined;
}

// Messages between a director, the thread that feels its pulse, and the keeper process that holds BIRD.

/** What is in the files of BIRD's directory when everything is announced. */
export interface BirdTexts {
  readonly config: string;
  readonly service: { readonly 4: string; readonly 6: string };
  readonly tunnels: { readonly 4: string; readonly 6: string };
}

export type ToKeeper =
  | { readonly type: 'texts'; readonly texts: BirdTexts }
  | { readonly type: 'announce'; readonly service: boolean; readonly tunnels: boolean }
  | { readonly type: 'beat' };

export interface BirdStatus {
  /** Of the addresses that clients talk to. */
  readonly isAnnounced: boolean;
  /** Sessions of BGP and interfaces of OSPF that are up, and how many are configured. */
  readonly sessionsUp: number;
  readonly sessions: number;
  /** What went wrong last, in BIRD's words; null when all is well. */
  readonly trouble: string | null;
}

export type FromKeeper =
  | { readonly type: 'status'; readonly status: BirdStatus }
  /** All that was asked for so far is in BIRD. */
  | { readonly type: 'settled' }
  | { readonly type: 'log'; readonly level: 'info' | 'warn' | 'error'; readonly text: string };

export interface PulseStart {
  /** Where BIRD's files and its socket are. */
  readonly directory: string;
  /** The memory of the data path, and where each worker's pulse is in it. */
  readonly memory: SharedArrayBuffer;
  readonly pulses: readonly number[];
}

// Records of the cluster state (data-plane.md P9, P11, P40): the standby table, written by the main thread and read by the workers, and
// the answers that are outstanding after a question to the peers.
import { record } from './record.ts';

export const StandbyState = record(
  'StandbyState',
  192,
  'Head of the standby table; one a process. Only the main thread writes, and only the row sequence orders readers.',
  {
    key0: ['u64', 'Key of its hashes, first half: random.'],
    key1: ['u64', 'Second half.'],
    rows: ['u32', 'Address of the StandbyRows.'],
    rowsMax: ['u32', 'How many of them; 0 keeps no standby table.'],
    index: ['u32', 'Address of the index: buckets of STANDBY_WAYS words.'],
    bucketMask: ['u32', 'Buckets - 1.'],
    free: ['u32', 'First free row + 1, or 0.'],
    fresh: ['u32', 'First row that was never used.'],
    count: ['u32', 'Rows in use.'],
    expireCursor: ['u32', 'Where expiry goes on.'],
    buffer: ['u32', 'Address of SYNC_ROWS StandbyRows by which records come and go.'],
    spare: ['u32', 'Room for a later field.'],
    stored: ['u64', 'Records that made a row.'],
    refreshed: ['u64', 'Records that renewed one.'],
    older: ['u64', 'Records that lost against a higher epoch or ordinal.'],
    deleted: ['u64', 'Rows that ended because their flow did.'],
    expired: ['u64', 'Rows whose flow was idle for too long.'],
    evicted: ['u64', 'Rows that gave way in a full table.'],
    yielded: ['u64', 'Own flows that another director has taken over.'],
  },
);

export const StandbyRow = record(
  'StandbyRow',
  128,
  'A flow of another director, by stable ids. The slots are what the ids mean here and now; they are checked at each use.',
  {
    client: ['bytes16', 'Client address.'],
    seen: ['bytes16', 'Source that the target sees.'],
    clientHost: ['bytes16', 'Outer source of a client inside a VPC.'],
    listener: ['u64', 'Stable id of the listener.'],
    target: ['u64', 'Stable id of the target.'],
    clientPort: ['u16', 'Client port.'],
    seenPort: ['u16', 'Source port that the target sees.'],
    protocol: ['u8', 'IP protocol.'],
    state: ['u8', 'FlowState; Free while the row is not in use.'],
    flags: ['u16', 'FlowFlag bits.'],
    inboundMs: ['u32', 'Last packet of the client, in our time.'],
    outboundMs: ['u32', 'Last packet of the target, in our time.'],
    createdMs: ['u32', 'First packet, in our time.'],
    epoch: ['u32', 'How often the flow has changed its owner.'],
    ordinal: ['u32', 'Ordinal of the owner.'],
    sequenceDelta: ['u32', 'As in FlowEntry.'],
    timestampDelta: ['u32', 'As in FlowEntry.'],
    listenerSlot: ['u32', 'Slot of the listener, or NONE.'],
    targetSlot: ['u32', 'Slot of the target, or NONE.'],
    forwardHash: ['u32', 'Hash of the forward key.'],
    reverseHash: ['u32', 'Hash of the reverse key, or 0 when the row is not found by it.'],
    sequence: ['u32', 'Odd while the row is written; in the buffer: 1 for a record that ends its flow.'],
    next: ['u32', 'Next free row + 1, or 0, while free.'],
  },
);

export const PeerRow = record('PeerRow', 48, 'Another director of the cluster, in the image bank.', {
  v4: ['bytes16', 'Its first tunnel address over IPv4, or zeros.'],
  v6: ['bytes16', 'Over IPv6, or zeros.'],
  ordinal: ['u32', 'Its ordinal.'],
});

export const AskRow = record('AskRow', 8, 'A question to the peers that has not been answered, by hash of its flow.', {
  hash: ['u32', 'Hash of the flow key.'],
  atMs: ['u32', 'First question.'],
});

export const syncLimits = {
  STANDBY_WAYS: 16,
  SYNC_ROWS: 512,
  PEERS_MAX: 16,
  ASK_ROWS: 1024,
  ASKS_PER_SECOND: 1000,
  ASK_ANSWER_MS: 200,
  ASK_LIFE_MS: 3000,
  SYNC_AFTER_MS: 5000,
  SYNC_REFRESH_MS: 60000,
  SYNC_CLAIM_MS: 5000,
} as const;

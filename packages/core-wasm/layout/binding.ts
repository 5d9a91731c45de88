// Records of delayed binding (data-plane.md P26, P27): connections that the director answers itself until their target is chosen.
import { record } from './record.ts';

export const BindingState = record('BindingState', 192, 'Head of the delayed bindings of one worker.', {
  rows: ['u32', 'Address of the PendingRows.'],
  rowsMax: ['u32', 'How many of them.'],
  heads: ['u32', 'Address of the chains by hash: u32 row + 1.'],
  headMask: ['u32', 'Chains - 1.'],
  blocks: ['u32', 'Address of the blocks of kept data.'],
  blocksMax: ['u32', 'How many of them.'],
  text: ['u32', 'Address of KEPT_BYTES_MAX bytes in which kept data is read as one piece.'],
  free: ['u32', 'First free row + 1, or 0.'],
  fresh: ['u32', 'First row that was never used.'],
  count: ['u32', 'Rows in use.'],
  blockFree: ['u32', 'First free block + 1, or 0.'],
  blockFresh: ['u32', 'First block that was never used.'],
  cursor: ['u32', 'Where the timers go on.'],
  lookedMs: ['u32', 'When the rates of new connections were looked at last.'],
  answered: ['u64', 'SYNs answered by the director.'],
  valid: ['u64', 'Handshakes proved by a cookie.'],
  invalid: ['u64', 'Segments without a flow whose cookie is wrong or too old.'],
  bound: ['u64', 'Connections handed over to a target.'],
  noAnswer: ['u64', 'Connections ended because their target was silent.'],
  refused: ['u64', 'Connections ended because their target refused them.'],
  full: ['u64', 'Proved handshakes for which there was no row.'],
  tooLarge: ['u64', 'Segments whose data was not kept: more than KEPT_BYTES_MAX, or no block left.'],
  byName: ['u64', 'Connections bound by the name that they asked for.'],
  noName: ['u64', 'Connections of a listener with domains that named none of them.'],
  ended: ['u64', 'Connections that their client gave up before they were bound.'],
});

export const PendingRow = record('PendingRow', 128, 'A client that has proved itself and has no target yet.', {
  client: ['bytes16', 'Client address.'],
  clientHost: ['bytes16', 'Outer source of a client inside a VPC, or zeros.'],
  listener: ['u32', 'Listener slot.'],
  clientPort: ['u16', 'Client port.'],
  state: ['u8', 'PendingState.'],
  retries: ['u8', 'Times that the SYN or the data were sent again.'],
  hash: ['u32', 'Hash of the forward key.'],
  next: ['u32', 'Next row of the chain + 1; while free next free row + 1; or 0.'],
  flow: ['u32', 'Slot of the flow entry, or NONE.'],
  cookie: ['u32', 'Our initial sequence number.'],
  isn: ['u32', 'Initial sequence number of the client.'],
  tsval: ['u32', 'Newest TSval of the client.'],
  group: ['u32', 'Group slot that its name has chosen, or NONE.'],
  kept: ['u32', 'Bytes of the client kept and acknowledged.'],
  acknowledged: ['u32', 'Bytes of them that the target has acknowledged.'],
  firstBlock: ['u32', 'First block + 1, or 0.'],
  lastBlock: ['u32', 'Last block + 1, or 0.'],
  startedMs: ['u32', 'When the handshake was proved.'],
  dueMs: ['u32', 'When the timer has something to do.'],
  targetTsval: ['u32', 'Newest TSval of the target.'],
  targetMss: ['u16', 'MSS of the target.'],
  mss: ['u16', 'MSS of the client.'],
  window: ['u16', 'Window field of the last segment of the client.'],
  scale: ['u8', 'Window scale of the client, or NO_SCALE.'],
  hasTimestamp: ['u8', '1: the client sends timestamps.'],
  sackPermitted: ['u8', '1: the client permits SACK.'],
  targetTimestamp: ['u8', '1: the target sends timestamps.'],
  spare: ['u16', 'Room for a later field.'],
});

export const BindingListener = record('BindingListener', 32, 'What a worker knows of the SYN rate of a listener.', {
  active: ['u32', '0: off. 1: off, but its cookies are still good. 2: the director answers SYNs.'],
  answered: ['u32', 'SYNs answered since the last look.'],
  created: ['u32', 'Flows created until the last look, low bits.'],
  dropped: ['u32', 'New flows refused until the last look, low bits.'],
  busyMs: ['u32', 'Last look at which the rate was at least half of the watermark.'],
  leftMs: ['u32', 'When it was left.'],
  rate: ['u32', 'SYNs a second of the director from which it answers them itself. Written with the image.'],
});

export const bindingLimits = {
  /** Connections of a worker that wait for their target. */
  PENDING_DEFAULT: 4096,
  KEPT_BYTES_MAX: 16384,
  KEPT_BLOCK_BYTES: 2048,
  /** A server that speaks first is asked when the client has been silent for so long. */
  SERVER_FIRST_MS: 200,
  /** So long a name may take to arrive. */
  NAME_MS: 3000,
  CONNECT_MS: 1000,
  CONNECT_RETRIES: 3,
  DELIVER_MS: 200,
  DELIVER_RETRIES: 6,
  BINDING_STEP: 512,
  SYN_RATE_LOOK_MS: 250,
  SYN_RATE_QUIET_MS: 60000,
  COOKIE_LIFE_MS: 128000,
  /** Where the window shift lies in FlowEntry.flags: four bits, 8 more than the shift. */
  WINDOW_SHIFT_BIT: 12,
  WINDOW_SHIFT_ZERO: 8,
} as const;

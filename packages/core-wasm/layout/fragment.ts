// Records of the fragment table (data-plane.md P15): datagrams that come in fragments, and fragments that wait for their first one.
import { record } from './record.ts';

export const FragmentState = record('FragmentState', 64, 'Head of a worker’s fragment table (P15).', {
  entries: ['u32', 'Address of the FragmentEntries.'],
  bucketMask: ['u32', 'Buckets of FRAGMENT_WAYS entries, less one.'],
  holds: ['u32', 'Address of the FragmentHolds, FRAGMENT_HOLDS of them.'],
  data: ['u32', 'Address of the held packets, CHUNK_BYTES each.'],
  sources: ['u32', 'Address of the FragmentSources.'],
  freeHold: ['u32', 'First free hold + 1, or 0.'],
  freshHold: ['u32', 'First hold that was never used.'],
  cursor: ['u32', 'Where expiry goes on.'],
});

export const FragmentEntry = record('FragmentEntry', 128, 'A datagram that comes in fragments.', {
  source: ['bytes16', 'Source: key.'],
  destination: ['bytes16', 'Destination: key.'],
  identification: ['u32', 'Identification: key.'],
  net: ['u32', 'Net: key.'],
  atMs: ['u32', 'First fragment seen.'],
  protocol: ['u8', 'Protocol: key of IPv4; of IPv6 known with the first fragment.'],
  family: ['u8', '4 or 6.'],
  state: ['u8', 'FragmentProgress.'],
  rangeCount: ['u8', 'Stretches in use.'],
  sourcePort: ['u16', 'Ports, once the first fragment is here.'],
  destinationPort: ['u16', 'Likewise.'],
  end: ['u32', 'Length of the whole, or 0 while the last fragment is missing.'],
  hold: ['u32', 'First held fragment + 1, or 0.'],
  range0: ['u32', 'Stretches that have come: first unit of 8 bytes, and the one behind the last in the high half.'],
  range1: ['u32', 'Likewise.'],
  range2: ['u32', 'Likewise.'],
  range3: ['u32', 'Likewise.'],
  range4: ['u32', 'Likewise.'],
  range5: ['u32', 'Likewise.'],
  range6: ['u32', 'Likewise.'],
  range7: ['u32', 'Likewise.'],
});

export const FragmentHold = record('FragmentHold', 64, 'A fragment that waits for the first of its datagram.', {
  outerSource: ['bytes16', 'Outer source of its tunnel.'],
  outerDestination: ['bytes16', 'Outer destination of its tunnel.'],
  next: ['u32', 'Next hold of the datagram, or of the free ones, + 1; or 0.'],
  entry: ['u32', 'Number of its entry + 1; 0 while free.'],
  bytes: ['u32', 'Bytes of the packet.'],
  source: ['u32', 'Number of its FragmentSource.'],
  tunnelKey: ['u32', 'Key of its tunnel.'],
  flags: ['u16', 'PacketFlag bits.'],
  portIn: ['u8', 'Port that received it.'],
  direction: ['u8', 'Direction.'],
  tag: ['u32', 'Its 802.1Q tag.'],
});

export const FragmentSource = record('FragmentSource', 8, 'What sources of one hash have in the holds.', {
  count: ['u32', 'Fragments.'],
  bytes: ['u32', 'Bytes of them.'],
});

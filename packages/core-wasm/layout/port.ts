// The record of one port: where its rings, arena and counters lie. Written once by l4/src/port, worked on by assembly/port.
// Facts about the rings: docs of AF_XDP (if_xdp.h) and AF_PACKET (if_packet.h, TPACKET_V2).
import { record } from './record.ts';

/** What moves the frames of a port. Zero means that the state is unused. */
export const PortKind = { None: 0, Xdp: 1, Packet: 2, Tun: 3, Memory: 4, Pcap: 5 } as const;

export const portLimits = {
  /** Kinds that the core tells apart; all others are copied by TypeScript. */
  PORT_NONE: PortKind.None,
  PORT_XDP: PortKind.Xdp,
  PORT_PACKET: PortKind.Packet,
  /** Bytes of the page-aligned area that holds the rings and lists of one port. */
  PORT_AREA_BYTES: 262144,
  /** Frames that one port may queue between two kicks. */
  PORT_QUEUE_MAX: 1024,
  /** Room left in front of a frame that is copied into a chunk: outer headers of 48 bytes, a VLAN tag, and then some. */
  PORT_HEADROOM_BYTES: 128,
} as const;

export const PortState = record('PortState', 384, 'One port of a core instance: kind, rings, arena, counters.', {
  kind: ['u8', 'PortKind.'],
  index: ['u8', 'Index of the port in the core.'],
  layer: ['u8', '2: frames start with an Ethernet header. 3: with an IP header.'],
  flags: ['u8', 'Unused.'],
  frameBytesMax: ['u32', 'Longest frame that may be sent: MTU plus link header.'],
  arena: ['u32', 'First byte of the chunks of this port, relative to the slab.'],
  arenaBytes: ['u32', 'Bytes of those chunks.'],
  ownArena: [
    'u32',
    'Packet, copy: first of the chunks for frames that the core makes or copies, relative to the slab.',
  ],
  ownChunks: ['u32', 'Packet, copy: how many of those there are.'],
  ownUsed: ['u32', 'Packet, copy: how many of those the queue has used since the last kick.'],
  freeStack: ['u32', 'Linear address of the stack of free chunks (u32 each, relative to the slab).'],
  freeCount: ['u32', 'Chunks on that stack.'],
  freeMax: ['u32', 'Chunks that the stack can hold.'],
  rxProducer: ['u32', 'Linear address of the producer word of the receive ring.'],
  rxConsumer: ['u32', 'Linear address of the consumer word of the receive ring.'],
  rxFlags: ['u32', 'Linear address of the flags word of the receive ring, or 0.'],
  rxRing: ['u32', 'Linear address of the first descriptor (packet: of the first slot) of the receive ring.'],
  rxMask: ['u32', 'Entries of the receive ring minus one.'],
  txProducer: ['u32', 'As rxProducer, for the transmit ring.'],
  txConsumer: ['u32', 'As rxConsumer, for the transmit ring.'],
  txFlags: ['u32', 'As rxFlags, for the transmit ring.'],
  txRing: ['u32', 'As rxRing, for the transmit ring (packet: the iovec array).'],
  txMask: ['u32', 'As rxMask, for the transmit ring.'],
  fillProducer: ['u32', 'As rxProducer, for the fill ring.'],
  fillConsumer: ['u32', 'As rxConsumer, for the fill ring.'],
  fillFlags: ['u32', 'As rxFlags, for the fill ring.'],
  fillRing: ['u32', 'As rxRing, for the fill ring.'],
  fillMask: ['u32', 'As rxMask, for the fill ring.'],
  completionProducer: ['u32', 'As rxProducer, for the completion ring.'],
  completionConsumer: ['u32', 'As rxConsumer, for the completion ring.'],
  completionFlags: ['u32', 'As rxFlags, for the completion ring.'],
  completionRing: ['u32', 'As rxRing, for the completion ring.'],
  completionMask: ['u32', 'As rxMask, for the completion ring.'],
  rxHead: ['u32', 'Packet: the slot that is read next.'],
  txQueued: ['u32', 'Frames queued since the last kick (xdp: since the producer word was published).'],
  memoryBase: ['u64', 'Packet: absolute address of the linear memory, for iovecs.'],
  mac: ['bytes6', 'Own MAC address of the device; zero on layer 3.'],
  mtu: ['u16', 'MTU of the device.'],
  rxFrames: ['u64', 'Frames handed to the walk.'],
  rxBytes: ['u64', 'Their bytes.'],
  txFrames: ['u64', 'Frames queued for the kernel (or the other end).'],
  txBytes: ['u64', 'Their bytes.'],
  txCopied: ['u64', 'Of those, copied into a chunk of this port because they lay in the arena of another one.'],
  rxTruncated: ['u64', 'Dropped: longer than a chunk holds.'],
  rxMalformed: ['u64', 'Dropped: a descriptor outside the arena, or a frame too short for its link header.'],
  rxNoChunk: ['u64', 'Dropped: no free chunk or ring slot for a frame from outside.'],
  rxCompleted: ['u64', 'Frames with a partial checksum that was completed on receipt.'],
  txOversize: ['u64', 'Dropped: longer than the MTU of the port allows.'],
  txRingFull: ['u64', 'Dropped: transmit ring or queue full.'],
  txNoChunk: ['u64', 'Dropped: no free chunk to copy the frame into.'],
  txMalformed: ['u64', 'Dropped: the frame lies outside the slab or crosses a chunk, or the port does not exist.'],
  txRefused: ['u64', 'Dropped: the kernel refused the frame at the kick.'],
  badChunk: ['u64', 'A chunk was given back that the port does not own, or twice: a defect of the core.'],
});

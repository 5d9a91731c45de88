// Records of meters (data-plane.md P33), SYN cookies (P26) and TCP options. Addresses are 16 bytes, IPv4 as
// ::ffff:a.b.c.d.
import { enumeration, valuesOf } from './enumeration.ts';
import { record } from './record.ts';

export const meterVerdictEnum = enumeration('MeterVerdict', 'What a meter says to a packet or a connection.', {
  Passed: [0, 'Within every limit; the tokens are taken.'],
  Packets: [1, 'Over the packet rate.'],
  Bits: [2, 'Over the bit rate.'],
  Connections: [3, 'Over the rate of new connections.'],
});
export const MeterVerdict = valuesOf(meterVerdictEnum);

export const cookieVerdictEnum = enumeration('CookieVerdict', 'What a segment that claims a SYN cookie is.', {
  Valid: [0, 'It acknowledges a cookie of ours; the options of the SYN are recovered.'],
  NoAck: [1, 'It carries no ACK, or SYN or RST: it can prove nothing.'],
  Aged: [2, 'The cookie belongs to an epoch that is not accepted.'],
  Forged: [3, 'The cookie is not one that we could have sent for these ends and this sequence number.'],
  NotReady: [4, 'The keys are not written yet, or are being replaced.'],
});
export const CookieVerdict = valuesOf(cookieVerdictEnum);

export const tcpOptionEnum = enumeration('TcpOption', 'Bits of TcpView.flags: which options a segment carries.', {
  Mss: [1, 'Maximum segment size (RFC 9293, 3.7.1).'],
  Scale: [2, 'Window scale (RFC 7323, 2.2).'],
  SackPermitted: [4, 'SACK permitted (RFC 2018, 2).'],
  Timestamp: [8, 'Timestamps (RFC 7323, 3.2).'],
  Sack: [16, 'SACK blocks (RFC 2018, 3).'],
  Toa: [32, 'A client address: kind 254, 253 or 200.'],
  Malformed: [64, 'The list runs past the header; what stood in front of that counts.'],
});
export const TcpOption = valuesOf(tcpOptionEnum);

export const meterLimits = {
  /** Bytes of a meter: Meter, three Buckets, three BucketSettings. */
  METER_ROW_BYTES: 256,
  /** Offset of the buckets in a meter: packets, bits, connections. */
  METER_BUCKETS: 64,
  /** Offset of the settings in a meter, in the same order. */
  METER_SETTINGS: 160,
  /** A bucket counts thousandths of a token, so a rate in tokens a second is its gain in a millisecond: no division. */
  TOKEN_PARTS: 1000,
  /** A clock that steps back by less than this is waited for; a larger step forward is time that has passed. */
  CLOCK_BACK_MS: 65_536,
  /** Length of an epoch of SYN cookies, and how many are accepted on either side of the current one (P26). */
  COOKIE_EPOCH_MS: 64_000,
  COOKIE_EPOCHS_ASIDE: 1,
  /** Window scale and window, in bytes, of our SYN/ACK (P26). Never 0: zero-window probes would deadlock. */
  PROXY_SCALE: 7,
  PROXY_WINDOW_BYTES: 16_384,
  /** Segment.scale: no window scale option. */
  NO_SCALE: 255,
  /** Options of a segment end here (RFC 9293, 3.1: a data offset of 15). */
  TCP_OPTION_BYTES_MAX: 40,
  /** Kinds under which servers look for the address of the client: LVS and its heirs, Tencent IPv4, Tencent IPv6. */
  TOA_KIND: 254,
  TOA_KIND_TENCENT_V4: 200,
  TOA_KIND_TENCENT_V6: 253,
  TOA_V4_BYTES: 8,
  TOA_V6_BYTES: 20,
  /** Bytes of a PROXY protocol header, version 2, without TLVs. */
  PROXY2_V4_BYTES: 28,
  PROXY2_V6_BYTES: 52,
} as const;

export const Meter = record('Meter', 64, 'Head of a meter; its buckets and their settings follow.', {
  sequence: ['u32', 'Seqlock of the settings: odd while the main thread writes them.'],
  adopted: ['u32', 'Sequence of the settings that the worker has taken over.'],
  offeredPackets: ['u64', 'Packets that asked: the demand by which shares are divided.'],
  offeredBits: ['u64', 'Bits of them.'],
  offeredConnections: ['u64', 'Connections that asked.'],
  refusedPackets: ['u64', 'Packets refused by the packet rate.'],
  refusedBits: ['u64', 'Packets refused by the bit rate.'],
  refusedConnections: ['u64', 'Connections refused.'],
  denied: ['u64', 'New flows that the access list has kept out.'],
});

export const Bucket = record('Bucket', 32, 'A token bucket, in thousandths of a token.', {
  level: ['u64', 'Tokens, in thousandths.'],
  rate: ['u64', 'Tokens a second, which is thousandths a millisecond.'],
  full: ['u64', 'Burst, in thousandths.'],
  fillMs: ['u32', 'Time from empty to full, rounded up. 0: no limit.'],
  lastMs: ['u32', 'Time of the level.'],
});

export const BucketSetting = record('BucketSetting', 24, 'What the main thread wants a bucket to be.', {
  rate: ['u64', 'As in Bucket.'],
  full: ['u64', 'As in Bucket.'],
  fillMs: ['u32', 'As in Bucket.'],
});

export const CookieState = record('CookieState', 128, 'Keys of SYN cookies, written by the main thread, one for all.', {
  isReady: ['u32', '1 when epoch and keys belong together.'],
  epoch: ['u32', 'Current epoch: unix time / 64 s, its low 32 bits.'],
  clockMs: ['u32', 'Added to the time of a burst it gives the clock of our timestamps: unix time in milliseconds.'],
  spare: ['u32', 'Room for a later field.'],
  key0Low: ['u64', 'SipHash key of epochs with the low bits 0, first half. Three more keys follow.'],
  key0High: ['u64', 'Second half.'],
  key1Low: ['u64', 'Key of epochs with the low bits 1.'],
  key1High: ['u64', 'Second half.'],
  key2Low: ['u64', 'Key of epochs with the low bits 2.'],
  key2High: ['u64', 'Second half.'],
  key3Low: ['u64', 'Key of epochs with the low bits 3.'],
  key3High: ['u64', 'Second half.'],
});

export const TcpView = record('TcpView', 32, 'The options of a segment. Offsets count from the TCP header.', {
  flags: ['u16', 'TcpOption bits.'],
  mss: ['u16', 'Maximum segment size, or 0.'],
  scale: ['u8', 'Window scale, at most 14, or NO_SCALE.'],
  sackBlocks: ['u8', 'Number of SACK blocks.'],
  sackAt: ['u8', 'Offset of the first block, or 0.'],
  timestampAt: ['u8', 'Offset of TSval, or 0.'],
  toaAt: ['u8', 'Offset of the first option with a client address, or 0.'],
  toaBytes: ['u8', 'Its length.'],
  usedBytes: ['u16', 'Option bytes up to the end of the list.'],
  tsval: ['u32', 'TSval.'],
  tsecr: ['u32', 'TSecr.'],
});

export const Segment = record('Segment', 64, 'A segment without data to be written, or what a SYN cookie has proved.', {
  source: ['bytes16', 'Source address.'],
  destination: ['bytes16', 'Destination address.'],
  sequence: ['u32', 'Sequence number.'],
  acknowledgment: ['u32', 'Acknowledgment number; of a proved cookie our initial sequence number.'],
  tsval: ['u32', 'TSval.'],
  tsecr: ['u32', 'TSecr; of a proved cookie the TSval that we had sent.'],
  sourcePort: ['u16', 'Source port.'],
  destinationPort: ['u16', 'Destination port.'],
  window: ['u16', 'Window field as it is written.'],
  mss: ['u16', 'MSS option, or 0 for none.'],
  flags: ['u8', 'TCP flags.'],
  scale: ['u8', 'Window scale option, or NO_SCALE.'],
  sackPermitted: ['u8', '1: SACK permitted option.'],
  hasTimestamp: ['u8', '1: timestamps option.'],
});

// Token buckets: meters of services (P33) for packets, bits and new connections, and those of ICMP answers (P17):
// echoes and errors have one each, so a flood of the one does not silence the other.
//
// A bucket counts thousandths of a token. A rate in tokens a second is then its gain in a millisecond: one
// multiplication, nothing rounded, nothing lost however often it is asked. In any time t at most rate * t + burst
// tokens pass, and whoever asks all the time gets rate * t.
import {
  BUCKET_BYTES, BUCKET_SETTING_BYTES, Bucket, BucketSetting, CLOCK_BACK_MS, ICMP_BURST, ICMP_PER_SECOND, METER_BUCKETS,
  METER_SETTINGS, Meter, MeterVerdict, TOKEN_PARTS,
} from '../layout.gen';
import { nowMs, state } from '../memory';

const KINDS: usize = 3;

/**
 * A packet of `bits` bits at `now` (u32 milliseconds, may wrap): takes a packet and its bits, or nothing at all. A
 * bucket that nobody has asked for 49.7 days may have forgotten that it had filled up meanwhile.
 */
export function meterPacket(meter: Meter, bits: u32, now: u32): MeterVerdict {
  adoptSettings(meter, now);
  const packets = bucketAt(meter, 0);
  const volume = bucketAt(meter, 1);
  meter.offeredPackets += 1;
  meter.offeredBits += bits;
  const cost = <u64>bits * TOKEN_PARTS;
  fill(packets, now);
  if (packets.level < TOKEN_PARTS) {
    meter.refusedPackets += 1;
    return MeterVerdict.Packets;
  }
  fill(volume, now);
  if (volume.level < cost) {
    meter.refusedBits += 1;
    return MeterVerdict.Bits;
  }
  packets.level -= TOKEN_PARTS;
  volume.level -= cost;
  return MeterVerdict.Passed;
}

/** A connection that would be made. Ask after `meterPacket`, for packets that open a flow only. */
export function meterConnection(meter: Meter, now: u32): MeterVerdict {
  adoptSettings(meter, now);
  meter.offeredConnections += 1;
  const bucket = bucketAt(meter, 2);
  fill(bucket, now);
  if (bucket.level < TOKEN_PARTS) {
    meter.refusedConnections += 1;
    return MeterVerdict.Connections;
  }
  bucket.level -= TOKEN_PARTS;
  return MeterVerdict.Passed;
}

function bucketAt(meter: Meter, kind: usize): Bucket {
  return Bucket.at(changetype<usize>(meter) + METER_BUCKETS + kind * BUCKET_BYTES);
}

/** Brings the level up to `now`. Past the time to fill it is full, so the product stays small whatever the time. */
function fill(bucket: Bucket, now: u32): void {
  const elapsed = now - bucket.lastMs;
  if (elapsed - 1 >= <u32>(0 - CLOCK_BACK_MS - 1)) return;
  bucket.lastMs = now;
  bucket.level = elapsed >= bucket.fillMs ? bucket.full : min(bucket.full, bucket.level + bucket.rate * elapsed);
}

/**
 * Takes over what the main thread has written since (a share, P33). What was earned until now was earned at the old
 * rate. While it is being written the old settings stay.
 */
function adoptSettings(meter: Meter, now: u32): void {
  const sequence = atomic.load<u32>(changetype<usize>(meter), offsetof<Meter>('sequence'));
  if (sequence == meter.adopted || (sequence & 1) != 0) return;
  for (let kind: usize = 0; kind < KINDS; kind++) {
    const bucket = bucketAt(meter, kind);
    const setting = BucketSetting.at(changetype<usize>(meter) + METER_SETTINGS + kind * BUCKET_SETTING_BYTES);
    if (meter.adopted == 0) {
      bucket.lastMs = now;
      bucket.level = setting.full;
    } else fill(bucket, now);
    bucket.rate = setting.rate;
    bucket.full = setting.full;
    bucket.fillMs = setting.fillMs;
    bucket.level = min(bucket.level, bucket.full);
  }
  // Written over meanwhile: what was read may be half of each, and the next packet reads it again.
  const isWhole = atomic.load<u32>(changetype<usize>(meter), offsetof<Meter>('sequence')) == sequence;
  if (isWhole) meter.adopted = sequence;
}

export function takeEchoToken(): bool {
  refill();
  if (state.echoTokens == 0) return false;
  state.echoTokens -= 1;
  return true;
}

export function takeErrorToken(): bool {
  refill();
  if (state.errorTokens == 0) return false;
  state.errorTokens -= 1;
  return true;
}

function refill(): void {
  const elapsed = nowMs - state.tokensMs;
  const tokens = <u32>min<u64>((<u64>elapsed * ICMP_PER_SECOND) / 1000, ICMP_BURST);
  if (tokens == 0) return;
  state.tokensMs = nowMs;
  state.echoTokens = min(ICMP_BURST, state.echoTokens + tokens);
  state.errorTokens = min(ICMP_BURST, state.errorTokens + tokens);
}

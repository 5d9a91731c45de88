// Nanoseconds of single functions on bytes in the cache: checksums, CRC32c, SYN cookies, sequence translation, token buckets. A loop of the
// same length without the function is taken off; the best of many short rounds counts, because a busy machine only ever adds time.
import { PLACE, packetOf, segment, writeCookieState } from '../test/meters-fixture.ts';
import { wire } from '../test/wire.ts';
import { Meter, meterLimits } from '../layout/index.ts';
import type { Row } from '../../../tools/bench/row.ts';

const ROUNDS = 40;
const TIMES = 20_000;
const CLIENT = '198.51.100.1';
const VIP = '203.0.113.10';

/** Best time of one of `times` calls, in nanoseconds. */
function best(times: number, run: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const from = process.hrtime.bigint();
    run();
    least = Math.min(least, Number(process.hrtime.bigint() - from) / times);
  }
  return least;
}

/** As a program without vectors would do it, in plain TypeScript: the peer of the checksums. */
function plainSum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

/** For tools/bench/main.ts. */
export async function run(): Promise<Row[]> {
  const under = await wire('assembly/tcp/testing.ts', '-O3');
  const rows: Row[] = [];
  const ns = (what: string, value: number, more: Partial<Row> = {}): void =>
    void rows.push({ what, value, unit: 'ns', ...more });
  const call = (name: string): ((...values: number[]) => number) => under.call[name]!;

  for (const bytes of [20, 60, 512, 1460]) {
    const data = under.take(PLACE.packet, bytes);
    const ours = best(TIMES, () => call('checksumMany')(PLACE.packet, bytes, TIMES));
    const peer = best(TIMES, () => {
      for (let index = 0; index < TIMES; index++) plainSum(data);
    });
    ns(`RFC 1071 sum, ${bytes} bytes`, ours, { ratio: ours / peer, peer: 'the same in TypeScript' });
  }
  for (const bytes of [60, 1460])
    ns(
      `CRC32c, ${bytes} bytes`,
      best(TIMES, () => call('crcMany')(PLACE.packet, bytes, TIMES)),
    );
  // A checksum of 0 means none, and nothing would be done.
  under.put(Uint8Array.of(1, 2, 3, 4), PLACE.packet + 8);
  ns(
    'SCTP port rewrite, 1,460 bytes',
    best(TIMES, () => call('sctpRewriteMany')(PLACE.packet, 1460, TIMES)),
    {
      note: 'both ports, CRC32c updated',
    },
  );

  const at = PLACE.packet + 20;
  under.put(packetOf(CLIENT, VIP, segment('0101080a0000100000002000', { flags: 'A' })), PLACE.packet);
  ns(
    'sequence translation, timestamps',
    best(2 * TIMES, () => call('translateMany')(at, TIMES)),
    {
      note: 'sequence number and TSval, checksum updated',
    },
  );
  writeCookieState(under, 27_000_000);
  const check = (): number =>
    call('countValidCookies')(PLACE.packet, at, PLACE.state, PLACE.view, PLACE.segment, 27_000_000 << 3, TIMES);
  ns('SYN cookie refused', best(TIMES, check), { note: 'SipHash-2-4 of 48 bytes for three of four' });
  const syn = packetOf(CLIENT, VIP, segment('020405b40402080a000030390000000001030307'));
  const makes = (): number => {
    under.put(syn, PLACE.packet);
    return call('synAckMany')(PLACE.packet, syn.length, PLACE.state, PLACE.view, PLACE.segment, TIMES);
  };
  ns('SYN/ACK in place of a SYN', best(TIMES, makes), { note: 'SYN copied back each time' });

  under.bytes.fill(0, PLACE.meter, PLACE.meter + meterLimits.METER_ROW_BYTES);
  new DataView(under.bytes.buffer).setUint32(PLACE.meter + Meter.at.sequence, 2, true);
  ns(
    'meter, packet and bits',
    best(TIMES, () => call('meterMany')(PLACE.meter, 0, 0, TIMES)),
  );
  return rows;
}

if (import.meta.main)
  for (const row of await run())
    console.log(
      `${row.what.padEnd(36)} ${row.value.toFixed(1).padStart(8)} ${row.unit}  ${row.ratio?.toFixed(2) ?? ''}`,
    );

// Any bytes into the director's walks: no trap, a verdict for every packet, nothing written outside the chunk, and what is forwarded
// has true checksums. Seeds are valid packets of every walk, mutated, so that the deep steps are reached, not only the first check.
import * as fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { checksumFault } from '../../../tools/testkit/expect.ts';
import { parseFrame } from '../../../tools/testkit/parse.ts';
import { LinkKind, PacketRecord, PortRow, Step, TraceRecord, Verdict, WorkerState, limits } from '../layout/index.ts';
import { director, type DirectorUnderTest } from '../test/director-fixture.ts';
import { SAMPLES } from '../test/samples.ts';

/** More with FUZZ_RUNS=1000000. */
const RUNS = Number(process.env['FUZZ_RUNS'] ?? 3000);
let under: DirectorUnderTest;
const reached = new Map<number, number>();

beforeAll(async () => {
  under = await director({ plan: { flows: 512 } });
});

/** A burst of one frame at a headroom; checks what must always hold. */
function check(frame: Uint8Array, headroom = 128): void {
  const { core } = under;
  const bytes = frame.subarray(0, limits.CHUNK_BYTES - headroom);
  core.inject([bytes], 0);
  const record = core.record(0);
  const chunk = core.view.getUint32(record + PacketRecord.at.chunk, true);
  core.view.setUint32(record + PacketRecord.at.address, chunk + headroom, true);
  core.bytes.set(bytes, core.worker.slab + chunk + headroom);
  const neighbour = core.worker.slab + chunk + limits.CHUNK_BYTES;
  core.bytes.fill(0xa5, neighbour, neighbour + 64);
  core.bytes.fill(0xa5, core.worker.slab + chunk, core.worker.slab + chunk + 64);
  const records = core.forwardBurst(1, 1000 + (core.counters().received ?? 0));
  for (let index = 1; index < records; index++) checkAdded(index);
  const verdict = core.verdict(0);
  const isWhole = (from: number): boolean => core.bytes.subarray(from, from + 64).every((byte) => byte === 0xa5);
  if (!isWhole(neighbour) || !isWhole(core.worker.slab + chunk)) throw new Error('written outside the chunk');
  if (verdict < Verdict.Forward || verdict > Verdict.Held) throw new Error(`verdict ${verdict}`);
  const address = core.view.getUint32(record + PacketRecord.at.address, true);
  const length = core.view.getUint32(record + PacketRecord.at.length, true);
  if ((address & (limits.CHUNK_BYTES - 1)) + length > limits.CHUNK_BYTES)
    throw new Error('the frame crosses its chunk');
  const count = core.view.getUint32(core.worker.state + WorkerState.at.trace, true);
  for (let step = 0; step < count; step++) {
    const name = core.bytes[core.worker.trace + step * TraceRecord.bytes + TraceRecord.at.step] ?? 0;
    reached.set(name, (reached.get(name) ?? 0) + 1);
  }
}

/** What the core adds to a burst has a verdict and lies in a chunk of its own. */
function checkAdded(index: number): void {
  const { core } = under;
  const record = core.record(index);
  const verdict = core.verdict(index);
  if (verdict < Verdict.Forward || verdict > Verdict.Held) throw new Error(`verdict ${verdict} of an added packet`);
  const address = core.view.getUint32(record + PacketRecord.at.address, true);
  const chunk = core.worker.extraChunk + (index - 1) * limits.CHUNK_BYTES;
  const length = core.view.getUint32(record + PacketRecord.at.length, true);
  if (address < chunk || address + length > chunk + limits.CHUNK_BYTES)
    throw new Error('an added packet outside its chunk');
  if (core.view.getUint32(record + PacketRecord.at.chunk, true) !== limits.NONE)
    throw new Error('an added packet is nobody’s');
}

const mutation = fc.record({
  seed: fc.nat(SAMPLES.length - 1),
  edits: fc.array(fc.record({ at: fc.nat(140), value: fc.nat(255) }), { maxLength: 4 }),
  cut: fc.option(fc.nat(160), { nil: undefined, freq: 4 }),
  refresh: fc.boolean(),
  headroom: fc.constantFrom(64, 80, 128, 300),
});

describe('any bytes', () => {
  test('random bytes of any length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2100 }), fc.constantFrom(64, 128), (bytes, headroom) =>
        check(bytes, headroom),
      ),
      { numRuns: RUNS },
    );
    expect(under.core.counters().received).toBeGreaterThanOrEqual(RUNS);
  });

  test('mutated packets of every walk, with the IPv4 checksum made true again in half of the cases', () => {
    fc.assert(
      fc.property(mutation, ({ seed, edits, cut, refresh, headroom }) => {
        const frame = Buffer.from(SAMPLES[seed] as Buffer);
        for (const { at, value } of edits) if (at < frame.length) frame[at] = value;
        if (refresh) refreshChecksum(frame);
        check(cut === undefined ? frame : frame.subarray(0, cut), headroom);
      }),
      { numRuns: RUNS * 2 },
    );
    for (const step of [
      Step.Parse,
      Step.Dispatch,
      Step.Classify,
      Step.Track,
      Step.Schedule,
      Step.Translate,
      Step.Encapsulate,
      Step.Decapsulate,
      Step.Emit,
      Step.Eip,
    ]) {
      expect(reached.get(step), `step ${step} was never reached`).toBeGreaterThan(10);
    }
  });

  test('every truncation of every sample', () => {
    for (const sample of SAMPLES)
      for (let length = 0; length <= sample.length; length++) check(sample.subarray(0, length));
    expect(under.core.counters()['reason.WalkBug']).toBeUndefined();
  });

  test('records that point anywhere', () => {
    const { core } = under;
    fc.assert(
      fc.property(fc.nat(0xffffffff), fc.nat(0xffffffff), fc.nat(0xffff), (address, length, flags) => {
        const record = core.record(0);
        core.view.setUint32(record + PacketRecord.at.address, address, true);
        core.view.setUint32(record + PacketRecord.at.length, length, true);
        core.view.setUint16(record + PacketRecord.at.flags, flags, true);
        core.forwardBurst(1, 1000);
        const isInside =
          address < core.worker.slabBytes && (address % limits.CHUNK_BYTES) + length <= limits.CHUNK_BYTES;
        if (!isInside && core.verdict(0) !== Verdict.Drop) throw new Error(`${address}+${length} was worked on`);
      }),
      { numRuns: RUNS },
    );
    expect(core.counters()['reason.BadAddress']).toBeGreaterThan(RUNS / 2);
  });

  test('what is forwarded has true checksums when what came in had', async () => {
    const { send, core, plan } = await director({ plan: { flows: 512 } });
    expect(core.view.getUint16(plan.map.portRows + PortRow.at.kind, true)).toBe(LinkKind.Ethernet);
    let forwarded = 0;
    fc.assert(
      fc.property(fc.nat(SAMPLES.length - 1), fc.integer({ min: 1, max: 255 }), (seed, ttl) => {
        const frame = Buffer.from(SAMPLES[seed] as Buffer);
        const isV4 = frame.readUInt16BE(12) === 0x0800;
        if (isV4) {
          frame[22] = ttl;
          refreshChecksum(frame);
        }
        const out = send(frame);
        if (out.verdict !== 'Forward') return;
        forwarded++;
        const ip = parseFrame(out.frame).ip;
        const fault = ip === undefined ? 'no IP packet' : checksumFault(ip);
        if (fault !== undefined) throw new Error(fault);
      }),
      { numRuns: RUNS },
    );
    expect(forwarded).toBeGreaterThan(RUNS / 4);
  });
});

function refreshChecksum(frame: Buffer): void {
  if (frame.length < 34 || frame.readUInt16BE(12) !== 0x0800) return;
  const header = Math.min(frame.length - 14, (frame.readUInt8(14) & 15) * 4);
  if (header < 20) return;
  frame.writeUInt16BE(0, 24);
  let sum = 0;
  for (let at = 14; at + 1 < 14 + header; at += 2) sum += frame.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  frame.writeUInt16BE(~sum & 0xffff, 24);
}

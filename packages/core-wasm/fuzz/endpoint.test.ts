// Any bytes into any port of an endpoint: no trap, a counted verdict, and what is forwarded lies inside its chunk with right headers.
// Seeds are valid frames that reach every step; mutations are small, so most of them get past the first check.
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { gre, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import { parseFrame } from '../../../tools/testkit/parse.ts';
import { limits } from '../layout/index.ts';
import {
  CLIENT,
  HOST1,
  HOST2,
  INSIDE_MAC,
  INSIDE_PORT,
  T1,
  VM_A1,
  bytes16,
  endpoint,
  eipOf,
  fromUnderlay,
  fromVm,
  icmpv4,
  mac,
} from '../test/endpoint-fixture.ts';

const inner = ipPacket(CLIENT, '10.0.0.2', tcp({ destinationPort: 8080, mss: 1460 }));
const inner6 = ipPacket('2001:db8::1', 'fd00::2', udp(1, 2, Buffer.alloc(40)));
const arp = Buffer.concat([
  Buffer.alloc(6, 0xff),
  mac(VM_A1.mac),
  Buffer.from('08060001080006040001', 'hex'),
  mac(VM_A1.mac),
  Buffer.from('0a0000020000000000000a000001', 'hex'),
]);
const solicitation = Buffer.concat([
  Buffer.from('8700000000000000', 'hex'),
  bytes16('fd00::1'),
  Buffer.from([1, 1]),
  mac(VM_A1.mac),
]);
const quote = ipPacket(CLIENT, '10.0.0.2', tcp({ destinationPort: 8080 })).subarray(0, 28);

const SEEDS: readonly (readonly [port: number, frame: Buffer])[] = [
  [0, fromUnderlay(ipPacket(T1, HOST1, gre(100, inner)))],
  [0, fromUnderlay(ipPacket(T1, HOST1, gre(100, inner6)))],
  [0, fromUnderlay(ipPacket('2001:db8:fe::1', '2001:db8:ff::11', gre(100, inner)))],
  [0, fromUnderlay(ipPacket(HOST2, HOST1, gre(100, ipPacket('10.0.0.3', '10.0.0.2', udp(1, 2, Buffer.alloc(9))))))],
  [0, fromUnderlay(ipPacket(T1, HOST1, { protocol: 4, bytes: ipPacket(CLIENT, HOST1, tcp()) }))],
  [VM_A1.port, fromVm(VM_A1, ipPacket('10.0.0.2', CLIENT, tcp({ sourcePort: 8080, flags: 'SA', mss: 1460 })))],
  [VM_A1.port, fromVm(VM_A1, ipPacket('10.0.0.2', '10.0.0.3', udp(1, 2, Buffer.alloc(1460))))],
  [VM_A1.port, fromVm(VM_A1, ipPacket('fd00::2', 'fd00::4', udp(1, 2, Buffer.alloc(30))))],
  [
    VM_A1.port,
    fromVm(VM_A1, ipPacket('fd00::2', 'ff02::1', { protocol: 58, bytes: solicitation, checksumAt: 2 }, 255)),
  ],
  [
    VM_A1.port,
    fromVm(VM_A1, ipPacket('10.0.0.2', CLIENT, icmpv4(Buffer.concat([Buffer.from('0303000000000000', 'hex'), quote])))),
  ],
  [VM_A1.port, arp],
  [INSIDE_PORT, ipPacket('100.112.0.1', '10.0.0.3', tcp({ mss: 1460 }))],
  [INSIDE_PORT, ipPacket(HOST1, CLIENT, tcp({ sourcePort: 8080, flags: 'SA' }))],
];

const OPTIONS = {
  uplinkMtu: 1400,
  entries: [
    eipOf(VM_A1),
    { kind: 'Source', address: bytes16('100.112.0.1'), link: 100 },
    { kind: 'Physical', address: bytes16(HOST1) },
  ],
  tables: { inside: { port: INSIDE_PORT, mac: mac(INSIDE_MAC) } },
} as const;

const mutation = fc.record({ at: fc.nat(200), value: fc.integer({ min: 0, max: 255 }) });
const frame = fc
  .record({
    seed: fc.nat(SEEDS.length - 1),
    mutations: fc.array(mutation, { maxLength: 4 }),
    cut: fc.nat(60),
    isCut: fc.boolean(),
  })
  .map(({ seed, mutations, cut, isCut }) => {
    const [port, bytes] = SEEDS[seed]!;
    const mutated = Buffer.from(isCut ? bytes.subarray(0, Math.max(0, bytes.length - cut)) : bytes);
    for (const { at, value } of mutations) if (at < mutated.length) mutated.writeUInt8(value, at);
    return [port, mutated] as const;
  });
const noise = fc.tuple(
  fc.constantFrom(0, 1, 2, INSIDE_PORT, 9, 255),
  fc.uint8Array({ maxLength: 1600 }).map((bytes) => Buffer.from(bytes)),
);

for (const artefact of ['check', 'shared'] as const) {
  test(`any frame gets a verdict and is counted once (${artefact})`, async () => {
    const { core, send } = await endpoint({ ...OPTIONS, artefact });
    let sent = 0;
    fc.assert(
      fc.property(
        fc.array(fc.oneof({ weight: 4, arbitrary: frame }, { weight: 1, arbitrary: noise }), { maxLength: 20 }),
        (frames) => {
          for (const [port, bytes] of frames) {
            sent += 1;
            const out = send(port, bytes, 1000 + sent);
            expect(out.verdict).not.toBe('None');
            if (out.verdict !== 'Forward') continue;
            expect(out.frame.length).toBeLessThanOrEqual(limits.CHUNK_BYTES);
            const ip = out.portOut === INSIDE_PORT || out.frame.length < 14 ? undefined : parseFrame(out.frame).ip;
            expect(ip?.isChecksumValid ?? true).toBe(true);
          }
        },
      ),
      { numRuns: 400 },
    );
    const counters = core.counters();
    const ends = ['forwarded', 'dropped', 'punted', 'consumed', 'held'].map((name) => counters[name] ?? 0);
    expect(counters['received']).toBe(sent);
    expect(ends.reduce((sum, count) => sum + count, 0)).toBe(sent);
    // The mutations must reach the walks' ends, or this test has looked at the first check alone.
    expect(counters['forwarded']).toBeGreaterThan(sent / 20);
    const reasons = ['UntrustedTunnel', 'SpoofedSource', 'UnknownVm', 'BadHeader', 'TooShort'];
    expect(reasons.filter((reason) => !counters[`reason.${reason}`])).toEqual([]);
  });
}

test('the four artefacts treat every seed alike', async () => {
  const outcomes = await Promise.all(
    (['plain', 'shared', 'check', 'trace'] as const).map(async (artefact) => {
      const { send } = await endpoint({ ...OPTIONS, artefact });
      return SEEDS.map(([port, bytes]) => send(port, bytes));
    }),
  );
  for (const outcome of outcomes) expect(outcome).toEqual(outcomes[0]);
  expect(new Set(outcomes[0]?.map(({ verdict }) => verdict))).toContain('Forward');
});

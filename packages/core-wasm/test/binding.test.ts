// The SYN proxy, segment by segment (data-plane.md P26): both sides are scripted, every number is checked.
import { expect, test } from 'vitest';
import { expectIpv4 } from '../../../tools/testkit/expect.ts';
import { AUTO, type Bench, type Left, bench } from './binding-fixture.ts';
import { VM_A1 } from './director-fixture.ts';

const ISN = 0xfffffff0;
const TARGET_ISN = 0x12345678;
const SYN = { flags: 'S', sequence: ISN, mss: 1460, scale: 9, sackPermitted: true, timestamp: [7000, 0] as const };
const wrap = (value: number): number => value >>> 0;
const only = (left: Left[]): Left => {
  expect(left).toHaveLength(1);
  expectIpv4(left[0]!.ip);
  return left[0]!;
};

/** Up to the proof; returns the SYN/ACK of the director. */
function shake(under: Bench, syn: object = SYN): Left {
  const answer = only(under.client(syn));
  expect(answer).toMatchObject({ to: 'client', flags: 'SA', acknowledgment: wrap(ISN + 1), window: 16384 });
  return answer;
}
const times = (answer: Left, now: number) =>
  answer.timestamp ? { timestamp: [now, answer.timestamp[0]] as const } : {};

/** A whole opening with the first data; returns the cookie. */
function open(under: Bench, request: string): { cookie: number; ours: readonly [number, number] } {
  const answer = shake(under);
  const cookie = answer.sequence;
  const ack = { sequence: wrap(ISN + 1), acknowledgment: wrap(cookie + 1) };
  const left = under.client({ ...ack, flags: 'PA', data: Buffer.from(request), ...times(answer, 7001) });
  expect(left.map(({ to, flags }) => [to, flags])).toEqual([
    ['client', 'A'],
    [VM_A1, 'S'],
  ]);
  const [, ...delivered] = [
    null,
    ...under.target({
      flags: 'SA',
      sequence: TARGET_ISN,
      acknowledgment: wrap(ISN + 1),
      mss: 1400,
      scale: 5,
      sackPermitted: true,
      timestamp: [99_000, 7001],
    }),
  ];
  expect(Buffer.concat(delivered.map(({ data }) => data)).toString()).toBe(request);
  expect(delivered[0]).toMatchObject({ to: VM_A1, flags: 'PA', acknowledgment: wrap(TARGET_ISN + 1) });
  const reply = only(
    under.target({
      sequence: wrap(TARGET_ISN + 1),
      acknowledgment: wrap(ISN + 1 + request.length),
      timestamp: [99_001, 7001],
    }),
  );
  expect(reply).toMatchObject({ to: 'client', flags: 'A', sequence: wrap(cookie + 1) });
  return { cookie, ours: reply.timestamp! };
}

test('a SYN is answered from nothing, with the options of the client as far as they can be kept', async () => {
  const under = await bench();
  const answer = shake(under);
  expect(answer).toMatchObject({ mss: 1432, scale: 7, sackPermitted: true });
  expect(answer.timestamp?.[1]).toBe(7000);
  expect(shake(under, { flags: 'S', sequence: ISN, mss: 1460 })).not.toHaveProperty('scale');
  expect(under.counters()).toMatchObject({ answered: 2, pending: 0, flowsCreated: 0, generated: 2, punted: 0 });
});

test('the first data goes to the target after its handshake, and all numbers are translated from then on', async () => {
  const under = await bench();
  const { cookie } = open(under, 'GET / HTTP/1.1\r\n\r\n');
  const delta = wrap(cookie - TARGET_ISN);
  const back = only(
    under.target({
      flags: 'PA',
      sequence: wrap(TARGET_ISN + 1),
      acknowledgment: wrap(ISN + 19),
      data: Buffer.from('answer'),
      timestamp: [99_050, 7001],
      window: 4000,
    }),
  );
  expect(back).toMatchObject({ sequence: wrap(cookie + 1), window: 4000 >> 2 });
  const ack = only(
    under.client({
      sequence: wrap(ISN + 19),
      acknowledgment: wrap(cookie + 7),
      sack: [wrap(cookie + 107), wrap(cookie + 207)],
      timestamp: [7100, back.timestamp![0]],
      window: 321,
    }),
  );
  expect(ack).toMatchObject({
    to: VM_A1,
    sequence: wrap(ISN + 19),
    acknowledgment: wrap(cookie + 7 - delta),
    sack: [wrap(TARGET_ISN + 107), wrap(TARGET_ISN + 207)],
    timestamp: [7100, 99_050],
    window: 321,
  });
  expect(under.counters()).toMatchObject({ valid: 1, bound: 1, pending: 0, flowsActive: 1, dropped: 0 });
});

test('a server that speaks first is asked after 200 ms of silence', async () => {
  const under = await bench();
  const answer = shake(under);
  const cookie = answer.sequence;
  expect(under.client({ sequence: wrap(ISN + 1), acknowledgment: wrap(cookie + 1), ...times(answer, 7001) })).toEqual(
    [],
  );
  expect(under.wait(190)).toEqual([]);
  const syn = only(under.wait(20));
  expect(syn).toMatchObject({ to: VM_A1, flags: 'S', sequence: ISN, scale: 9, sackPermitted: true, mss: 1432 });
  const ack = only(under.target({ flags: 'SA', sequence: TARGET_ISN, acknowledgment: wrap(ISN + 1), mss: 1400 }));
  expect(ack).toMatchObject({ to: VM_A1, flags: 'A', acknowledgment: wrap(TARGET_ISN + 1), data: Buffer.alloc(0) });
  const banner = {
    flags: 'PA',
    sequence: wrap(TARGET_ISN + 1),
    acknowledgment: wrap(ISN + 1),
    data: Buffer.from('220'),
  };
  expect(only(under.target(banner))).toMatchObject({ to: 'client', sequence: wrap(cookie + 1) });
});

test('a forged acknowledgment opens nothing, and the true one does so however late and wherever it comes', async () => {
  const under = await bench();
  const cookie = shake(under).sequence;
  const forged = { sequence: wrap(ISN + 1), acknowledgment: wrap(cookie + 2), data: Buffer.from('x') };
  expect(under.client(forged)).toEqual([]);
  expect(under.counters()).toMatchObject({ invalid: 1, valid: 0, pending: 0 });
  const elsewhere = await bench();
  const data = { sequence: wrap(ISN + 1), acknowledgment: wrap(cookie + 1), flags: 'PA', data: Buffer.from('x') };
  elsewhere.nowMs += 60_000;
  expect(elsewhere.client(data).map(({ to }) => to)).toEqual(['client', VM_A1]);
});

test('data in pieces, twice and out of order reaches the target once and in order', async () => {
  const under = await bench();
  const cookie = shake(under, { flags: 'S', sequence: ISN, mss: 1460 }).sequence;
  const send = (from: number, text: string) =>
    under.client({
      flags: 'PA',
      sequence: wrap(ISN + 1 + from),
      acknowledgment: wrap(cookie + 1),
      data: Buffer.from(text),
    });
  under.client({ sequence: wrap(ISN + 1), acknowledgment: wrap(cookie + 1) });
  expect(send(5, 'fghij')[0]).toMatchObject({ flags: 'A', acknowledgment: wrap(ISN + 1) });
  expect(send(0, 'abcde')).toHaveLength(2);
  expect(only(send(0, 'abcde'))).toMatchObject({ flags: 'A', acknowledgment: wrap(ISN + 6) });
  expect(only(send(3, 'defghij'))).toMatchObject({ acknowledgment: wrap(ISN + 11) });
  const left = under.target({ flags: 'SA', sequence: TARGET_ISN, acknowledgment: wrap(ISN + 1), mss: 1460 });
  expect(Buffer.concat(left.map(({ data }) => data)).toString()).toBe('abcdefghij');
  // Lost on the way to the target: it comes again, because the client will not send it any more.
  expect(only(under.wait(300))).toMatchObject({ to: VM_A1, sequence: wrap(ISN + 1), data: Buffer.from('abcdefghij') });
});

test('a target that refuses resets the client, and so does one that is silent after four tries', async () => {
  const under = await bench();
  const cookie = shake(under, { flags: 'S', sequence: ISN, mss: 1460 }).sequence;
  const data = { flags: 'PA', sequence: wrap(ISN + 1), acknowledgment: wrap(cookie + 1), data: Buffer.from('x') };
  under.client(data);
  const reset = only(under.target({ flags: 'RA', sequence: 0, acknowledgment: wrap(ISN + 1) }));
  expect(reset).toMatchObject({ to: 'client', flags: 'RA', sequence: wrap(cookie + 1), acknowledgment: wrap(ISN + 2) });
  expect(under.counters()).toMatchObject({ refused: 1, pending: 0, flowsActive: 0 });
  under.client(data);
  const left = under.wait(20_000);
  expect(left.map(({ to, flags }) => [to, flags])).toEqual([
    [VM_A1, 'S'],
    [VM_A1, 'S'],
    [VM_A1, 'S'],
    ['client', 'RA'],
  ]);
  expect(under.counters()).toMatchObject({ noAnswer: 1, pending: 0, flowsActive: 0 });
});

test('what a client sends beyond 16 KiB is not acknowledged, and more clients than rows are refused', async () => {
  const under = await bench();
  const cookie = shake(under, { flags: 'S', sequence: ISN, mss: 1460 }).sequence;
  let acknowledged = 0;
  for (let sent = 0; sent < 20; sent++) {
    const data = {
      sequence: wrap(ISN + 1 + sent * 1024),
      acknowledgment: wrap(cookie + 1),
      data: Buffer.alloc(1024, sent),
    };
    acknowledged = wrap(under.client(data)[0]!.acknowledgment - ISN - 1);
  }
  expect(acknowledged).toBe(16384);
  const left = under.target({ flags: 'SA', sequence: TARGET_ISN, acknowledgment: wrap(ISN + 1), mss: 1460 });
  expect(Buffer.concat(left.map(({ data }) => data))).toHaveLength(16384);
  for (let port = 50000; port < 50020; port++) {
    const other = only(under.client({ flags: 'S', sequence: 5, mss: 1460 }, port)).sequence;
    under.client({ sequence: 6, acknowledgment: wrap(other + 1) }, port);
  }
  expect(under.counters()).toMatchObject({ tooLarge: 1, pending: 16, full: 5, 'reason.PendingFull': 5 });
});

test('auto leaves SYNs to the target, answers them above its rate, and lets go after a minute below half of it', async () => {
  const under = await bench(AUTO);
  const syn = (port: number) => only(under.client({ flags: 'S', sequence: port, mss: 1460 }, port)).to;
  under.wait(300);
  expect(syn(1000)).toBe(VM_A1);
  for (let port = 2000; port < 2100; port++) syn(port);
  under.wait(300);
  expect(syn(3000)).toBe('client');
  under.wait(59_000);
  expect(syn(3001)).toBe('client');
  under.wait(61_500);
  expect(syn(3002)).toBe(VM_A1);
});

// The reference packet (data-plane.md P39), byte for byte. The bytes were put together from the RFCs by hand, not by this core.
import { describe, expect, test } from 'vitest';
import { hexdumpDiff } from '../../../tools/testkit/expect.ts';
import { director } from './director-fixture.ts';

const bytes = (...parts: string[]): Buffer => Buffer.from(parts.join('').replaceAll(/\s/g, ''), 'hex');

/** SYN of 198.51.100.1:40000 to 203.0.113.10:80, MSS 1460, as the switch hands it over. */
export const SYN = bytes(
  '021000000001 0210000000fe 0800',
  '4500003c 1234 4000 40 06 c248 c6336401 cb00710a',
  '9c40 0050 01020304 00000000 a002 faf0 01d3 0000',
  '020405b4 0402 080a1122334400000000 01 030307',
);

/** The same in GRE with key 100 from the tunnel address to the host; MSS 1432 = 1500 − 28 − 40. */
const SYN_OUT = bytes(
  '0210000000fe 021000000001 0800',
  '45000058 0000 4000 40 2f 236f 0afe0101 0aff000b',
  '2000 0800 00000064',
  '4500003c 1234 4000 3f 06 f551 c6336401 0a000002',
  '9c40 1f90 01020304 00000000 a002 faf0 14b8 0000',
  '02040598 0402 080a1122334400000000 01 030307',
);

/** The SYN/ACK of 10.0.0.2:8080, out of the tunnel. */
const SYN_ACK = bytes(
  '021000000001 0210000000fe 0800',
  '45000058 0000 4000 40 2f 236f 0aff000b 0afe0101',
  '2000 0800 00000064',
  '4500003c 0000 4000 40 06 0686 0a000002 c6336401',
  '1f90 9c40 0a0b0c0d 01020305 a012 fe88 fada 0000',
  '020405b4 0402 080a1122334400000000 01 030307',
);

/** From the VIP again, untunnelled; its MSS is what the client may send, so it is clamped to the way in. */
const SYN_ACK_OUT = bytes(
  '0210000000fe 021000000001 0800',
  '4500003c 0000 4000 3f 06 d57c cb00710a c6336401',
  '0050 9c40 0a0b0c0d 01020305 a012 fe88 e82d 0000',
  '02040598 0402 080a1122334400000000 01 030307',
);

function expectBytes(expected: Buffer, seen: Buffer): void {
  expect(expected.equals(seen), `\n${hexdumpDiff(expected, seen)}`).toBe(true);
}

describe.each(['plain', 'check', 'shared', 'trace'] as const)('the reference packet in the %s core', (artefact) => {
  test('the SYN reaches the host in GRE with the VPC id as key, and the client stays visible', async () => {
    const { send } = await director({ artefact });
    const out = send(SYN);
    expect(out).toMatchObject({ verdict: 'Forward', reason: 'None' });
    expectBytes(SYN_OUT, out.frame);
  });

  test('the SYN/ACK leaves with the VIP as its source', async () => {
    const { send } = await director({ artefact });
    send(SYN);
    const out = send(SYN_ACK);
    expect(out).toMatchObject({ verdict: 'Forward', reason: 'None' });
    expectBytes(SYN_ACK_OUT, out.frame);
  });
});

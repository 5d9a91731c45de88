// Which VMs count as left, and for how long (data-plane.md P7.6).
import { expect, test } from 'vitest';
import { type EndpointImage } from '@openclb/model';
import { createLeftVms } from './endpoint-left.ts';

const imageOf = (...addresses: string[]): EndpointImage =>
  ({ vms: addresses.map((text) => ({ net: 100, addresses: [text] })) }) as unknown as EndpointImage;

test('a VM has left when an image names it no more, for a minute, and not when it has come back', () => {
  let nowMs = 0xffff_f000;
  const left = createLeftVms(() => nowMs);
  expect(left.update(imageOf('10.0.0.2', '10.0.0.3'))).toEqual([]);
  const [row, ...others] = left.update(imageOf('10.0.0.3'));
  expect(others).toEqual([]);
  expect(row).toMatchObject({ kind: 'Left', net: 100, link: 0xffff_f000 });
  expect([...row!.address.subarray(12)]).toEqual([10, 0, 0, 2]);
  // The clock wraps meanwhile.
  nowMs = (nowMs + 60_000) >>> 0;
  expect(left.update(imageOf('10.0.0.3'))).toHaveLength(1);
  nowMs += 1;
  expect(left.update(imageOf('10.0.0.3'))).toEqual([]);
  expect(left.update(imageOf())).toHaveLength(1);
  expect(left.update(imageOf('10.0.0.3'))).toEqual([]);
});

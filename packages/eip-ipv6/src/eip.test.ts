// The life of an EIP as properties: whatever the order of steps, an address has one owner and a refusal changes nothing.
import { address, cidr, ClbError, type EipBinding } from '@openclb/model';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  allocateEip,
  bindEip,
  compileEips,
  eipAddressesOf,
  type EipRecord,
  firstFree,
  isInPool,
  releaseEip,
  resolveBinding,
  unbindEip,
} from './index.ts';

const codeOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    if (error instanceof ClbError) return error.code;
    throw error;
  }
  return 'none';
};
const binding: EipBinding = { vpc: 100, address: '10.0.0.2', instance: 'ins-a' };

test('an EIP goes UNBIND → BIND → UNBIND, and only then may it be released', () => {
  const free = allocateEip('eip-a', 'web', '198.18.0.1');
  const bound = bindEip(free, binding);
  expect([free.state, bound.state]).toEqual(['UNBIND', 'BIND']);
  expect(codeOf(() => releaseEip(bound))).toBe('EipBound');
  expect(codeOf(() => bindEip(bound, binding))).toBe('EipAlreadyBound');
  const again = unbindEip(bound);
  expect(again).toEqual(free);
  expect(codeOf(() => unbindEip(again))).toBe('EipNotBound');
  expect(codeOf(() => releaseEip(again))).toBe('none');
});

test('any sequence of steps keeps state and binding in agreement, and a refused step leaves the EIP as it was', () => {
  const steps = fc.array(fc.constantFrom('bind', 'unbind', 'release'), { maxLength: 40 });
  fc.assert(
    fc.property(steps, (sequence) => {
      let eip: EipRecord = allocateEip('eip-a', 'a', '198.18.0.1');
      let isReleased = false;
      for (const step of sequence) {
        if (isReleased) break;
        const before = structuredClone(eip);
        const wasBound = eip.binding !== undefined;
        const code = codeOf(() => {
          if (step === 'bind') eip = bindEip(eip, binding);
          else if (step === 'unbind') eip = unbindEip(eip);
          else releaseEip(eip);
        });
        expect(code !== 'none').toBe(step === 'bind' || step === 'release' ? wasBound : !wasBound);
        isReleased = step === 'release' && code === 'none';
        expect(code === 'none' || JSON.stringify(eip) === JSON.stringify(before)).toBe(true);
        expect(eip.binding === undefined).toBe(eip.state === 'UNBIND');
      }
    }),
  );
});

test('releasing a bound EIP carries the code that the cloud API has for it', async () => {
  const { ERRORS } = await import('@openclb/model');
  expect(ERRORS.EipBound).toMatchObject({ status: 409, tencentCode: 'InvalidAddressIdStatus.NotPermit' });
});

test('a pool hands out each usable address once and then none', () => {
  const pool = [cidr('198.18.0.0/30'), cidr('192.0.2.7/32')];
  const taken = new Set<string>();
  const given: (string | undefined)[] = [];
  for (let count = 0; count < 4; count++) {
    const next = firstFree(pool, 4, (text) => taken.has(text));
    given.push(next);
    if (next !== undefined) taken.add(next);
  }
  expect(given).toEqual(['198.18.0.1', '198.18.0.2', '192.0.2.7', undefined]);
  expect(firstFree(pool, 6, () => false)).toBeUndefined();
  expect(isInPool(pool, '198.18.0.2') && !isInPool(pool, '198.18.0.4')).toBe(true);
});

test('what a pool hands out lies in it and is of the family asked for', () => {
  const block = fc.tuple(fc.bigInt(0n, 0xffff_ffffn), fc.integer({ min: 20, max: 32 }));
  fc.assert(
    fc.property(block, fc.integer({ min: 0, max: 300 }), ([base, prefix], used) => {
      const hostBits = BigInt(32 - prefix);
      const pool = [{ family: 4 as const, base: (base >> hostBits) << hostBits, prefix }];
      let asked = 0;
      const found = firstFree(pool, 4, () => asked++ < used);
      expect(found === undefined || (isInPool(pool, found) && address(found).family === 4)).toBe(true);
    }),
  );
});

const view = {
  instance: (id: string) =>
    id === 'ins-a' ? { id, vpcId: 100, addresses: ['10.0.0.2', '2001:db8::2', '10.0.0.9'] } : undefined,
  instanceAt: (vpc: number, text: string) => (vpc === 100 && text === '10.0.0.2' ? 'ins-a' : undefined),
  hasVpc: (id: number) => id === 100,
};

test('an instance is bound by its first address of the family of the EIP', () => {
  expect(resolveBinding('198.18.0.1', { instance: 'ins-a' }, view)).toEqual(binding);
  expect(resolveBinding('2001:db8:e1::1', { instance: 'ins-a' }, view).address).toBe('2001:db8::2');
  expect(resolveBinding('198.18.0.1', { instance: 'ins-a', address: '10.0.0.9' }, view).address).toBe('10.0.0.9');
  expect(resolveBinding('198.18.0.1', { vpc: 100, address: '10.0.0.2' }, view)).toEqual({
    vpc: 100,
    address: '10.0.0.2',
  });
});

test.each([
  [{}, 'BadCombination'],
  [{ vpc: 100 }, 'BadCombination'],
  [{ address: '10.0.0.2' }, 'BadCombination'],
  [{ instance: 'ins-a', vpc: 100 }, 'BadCombination'],
  [{ instance: 'ins-x' }, 'BadReference'],
  [{ instance: 'ins-a', address: '10.0.0.7' }, 'BadReference'],
  [{ instance: 'ins-a', address: '2001:db8::2' }, 'BadCombination'],
  [{ vpc: 200, address: '10.0.0.2' }, 'BadReference'],
  [{ vpc: 100, address: '10.0.0.8' }, 'BadReference'],
  [{ vpc: 100, address: '10.0.0.08' }, 'BadAddress'],
])('binding to %j is refused with %s', (input, code) => {
  expect(codeOf(() => resolveBinding('198.18.0.1', input, view))).toBe(code);
});

test('a bound EIP becomes a row when its address is placed, and a warning when it is not', () => {
  const eips = [
    bindEip(allocateEip('eip-b', 'b', '198.18.0.2'), { vpc: 100, address: '10.0.0.3' }),
    bindEip(allocateEip('eip-a', 'a', '198.18.0.1'), binding),
    allocateEip('eip-c', 'c', '198.18.0.3'),
  ];
  const { rows, warnings } = compileEips(eips, {
    stableId: (text) => text,
    hostOf: (_vpc, text) => (text === '10.0.0.2' ? 'h1' : undefined),
  });
  expect(rows).toEqual([{ id: 'eip-a', name: 'eip-a', eip: '198.18.0.1', net: 100, address: '10.0.0.2', host: 'h1' }]);
  expect(warnings).toHaveLength(1);
  expect(eipAddressesOf(eips, 100, ['10.0.0.2', '10.0.0.4'])).toEqual(['10.0.0.2']);
  expect(eipAddressesOf(eips, 200, ['10.0.0.2'])).toEqual([]);
});

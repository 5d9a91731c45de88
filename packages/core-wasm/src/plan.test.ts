// The memory planner (data-plane.md P11): what does not fit 4 GiB is refused with a word on what to lower.
import { expect, test } from 'vitest';
import { MemoryMap, limits } from '../layout/index.ts';
import { Core, allocate, planMemory } from './index.ts';

test('regions follow each other without overlap, and those that system calls see are page-aligned', () => {
  const plan = planMemory({ workers: 3, flows: 1000, ports: 2, portChunks: 64 });
  let end = 0;
  for (const worker of plan.workers) {
    expect(worker.flows).toBeGreaterThan(end);
    for (const address of [worker.slab, worker.portAreas]) expect(address % limits.PAGE_BYTES).toBe(0);
    expect(worker.flowIndex).toBeGreaterThanOrEqual(worker.flows + 1001 * 128);
    expect(worker.ports.map((port) => port.arena)).toEqual([0, 64 * 2048]);
    end = worker.slab + worker.slabBytes;
  }
  expect(end).toBeLessThanOrEqual(plan.pages * 65536);
  expect(plan.map.bankB - plan.map.bankA).toBeGreaterThanOrEqual(plan.map.bankBytes);
});

test('a plan that does not fit is refused and says what to lower', () => {
  expect(() => planMemory({ workers: 16, flows: 4_000_000 })).toThrow(
    /needs [\d.]+ GiB .* lower flows \(4000000 of 128 bytes a worker\)/,
  );
  expect(() => planMemory({ flows: 20_000_000 })).toThrow(/flows must not exceed/);
  expect(() => planMemory({ portChunks: 100 })).toThrow('power of two');
  expect(() => planMemory({ workers: 0 })).toThrow('workers must be 1 to 64');
  expect(() => planMemory({ ports: 1.5 })).toThrow('whole number');
});

test('a memory that was laid out for another version is refused', async () => {
  const plan = planMemory({ flows: 16, ports: 1, portChunks: 64 });
  const memory = allocate(plan, 'plain');
  new Uint32Array(memory.buffer)[(plan.mapAddress + MemoryMap.at.layoutHash) / 4] = 1;
  await expect(Core.open({ memory, plan, worker: 0, artefact: 'check' })).rejects.toThrow(/build the package again/);
});

// The gate on the hot path of TypeScript (conventions 1.7): a million packets through the loop leave nothing behind on the heap.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Core, ImageWriter, NextHopTable, allocate, createSlots, planMemory } from '@openclb/core-wasm';
import { expect, test } from 'vitest';
import { referenceImage, referenceSyn } from '../test/director-fixture.ts';
import { createBetweenBursts } from './between-bursts.ts';
import { createRound } from './round.ts';
import { createWorkerPorts } from './worker-ports.ts';

const PACKETS = 1_000_000;
const FRAMES = 64;
/** What the run-time may keep for itself: compiled code, inline caches. One leaked object a packet would be 16 MB and more. */
const GROWTH_BYTES_MAX = 4 << 20;

/** A garbage collection, whatever flags this process was started with. */
function collect(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

test('a million packets through the loop leave nothing on the heap, and each of them leaves by its port', async () => {
  const plan = planMemory({ ports: 1, portChunks: 256, flows: 1_024, maglevSlots: 65_536 });
  const memory = allocate(plan);
  const core = await Core.open({ memory, plan, worker: 0, artefact: 'shared' });
  new ImageWriter(plan, memory, createSlots(plan, memory)).write(referenceImage(1));
  const hops = new NextHopTable(plan, memory);
  hops.setPort(0, { mac: Uint8Array.of(2, 0, 0, 0, 0, 0), mtu: 1_500, kind: 'ethernet' });
  hops.setRoute('0.0.0.0', 0, '10.255.0.254', 0);
  hops.setNeighbour('10.255.0.254', Uint8Array.of(2, 0, 0, 0, 0, 0xfe), 0);
  let sent = 0;
  const ports = createWorkerPorts(core, (message) => {
    if (message.type === 'sent') sent += message.frames.length;
  });
  await ports.open({ index: 0, kind: 'memory', device: 'memory' });
  const round = createRound('director', core, ports, createBetweenBursts(core, ports.kick));
  const frames = Array.from({ length: FRAMES }, (_, index) => {
    const frame = Uint8Array.from(referenceSyn());
    // The next client port; the checksum gives back what the port took, so it stays true.
    const view = new DataView(frame.buffer);
    view.setUint16(34, view.getUint16(34) + index);
    view.setUint16(50, view.getUint16(50) - index);
    return frame;
  });
  const run = (packets: number): void => {
    for (let done = 0; done < packets; done += FRAMES) {
      ports.bring(0, frames);
      round();
      ports.flushMemory();
    }
  };
  run(50_000);
  collect();
  const before = process.memoryUsage().heapUsed;
  sent = 0;
  run(PACKETS);
  collect();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(GROWTH_BYTES_MAX);
  expect(sent).toBeGreaterThanOrEqual(PACKETS);
  expect(core.counters()['dropped']).toBe(0);
  ports.closeAll();
}, 60_000);

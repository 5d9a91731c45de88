// One measurement of ports.bench.ts: a generator thread floods a port, the core turns every frame round, the far end counts what comes back.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { limits } from '@openclb/core-wasm/layout';
import { main as compile } from 'assemblyscript/asc';
import { frameOf } from '../src/port/frames.ts';
import { openPort, pollPorts } from '../src/port/open.ts';
import type { PortKindName } from '../src/port/port.ts';
import { DEVICE, makeVeth, openCore, PEER, PREFIX, roomOf, TUN_DEVICE } from '../src/port/rigs.ts';
import { enterNamespace } from '../src/port/test-namespace.ts';

const WARM_MS = 300;
const MEASURE_MS = 1_500;
const FLOWS = 1_000;
const FRAME_ROOM = 64;

/** The core's moves plus the smallest walk (assembly/port/entry.ts), compiled on the spot: it is part of no release. */
async function compileEntry(): Promise<object> {
  const folder = mkdtempSync(join(tmpdir(), 'openclb-bench-'));
  const output = join(folder, 'ports.wasm');
  const options = ['-O3', '--noAssert', '--runtime', 'stub', '--importMemory', '--initialMemory', '1'];
  const memory = ['--maximumMemory', '65536', '--sharedMemory', '--enable', 'simd', '--enable', 'threads'];
  const base = fileURLToPath(new URL('../../core-wasm/', import.meta.url));
  const { error } = await compile([
    'assembly/port/entry.ts',
    '--baseDir',
    base,
    ...options,
    ...memory,
    '--outFile',
    output,
  ]);
  if (error !== null) throw error;
  const module = new WebAssembly.Module(readFileSync(output));
  rmSync(folder, { recursive: true });
  return module;
}

async function generate(device: string, layer: 2 | 3): Promise<void> {
  const core = await openCore();
  const port = await openPort({ kind: 'packet', index: 0, device, room: roomOf(core), steered: true });
  const frames = core.worker.slab + core.worker.injectChunk;
  const bytes = layer === 2 ? 60 : 46;
  const send = core.exports['send'] ?? (() => 0);
  for (let flow = 0; flow < FLOWS; flow++) core.bytes.set(frameOf(flow, bytes, layer), frames + flow * FRAME_ROOM);
  for (let sent = 0; ; sent += 64) {
    for (let i = 0; i < 64; i++) send(0, frames + ((sent + i) % FLOWS) * FRAME_ROOM, bytes);
    port.kick();
  }
}

/** Frames that the far end of the wire has received so far. */
function received(device: string): number {
  const lines = readFileSync('/proc/thread-self/net/dev', 'utf8').split('\n');
  const row = lines.find((line) => line.includes(`${device}:`));
  return Number(row?.split(':')[1]?.trim().split(/\s+/)[1] ?? 0);
}

/** Nanoseconds that this thread has run: says what a frame costs, whatever else the machine does. */
function ranNs(): number {
  return Number(readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')[0]);
}

async function measure(kind: PortKindName): Promise<void> {
  const namespace = enterNamespace();
  if (!namespace.isInside) throw new Error(namespace.why);
  if (kind !== 'tun') makeVeth(DEVICE, PEER);
  const core = await openCore(1, await compileEntry());
  const device = kind === 'tun' ? TUN_DEVICE : DEVICE;
  const port = await openPort({ kind, index: 0, device, room: roomOf(core), steered: true });
  port.steer(PREFIX, 120, 15);
  const far = kind === 'tun' ? TUN_DEVICE : PEER;
  const generator = new Worker(new URL(import.meta.url), { workerData: { device: far, layer: port.layer } });
  const hairpin = core.exports['hairpin'] ?? (() => 0);
  await sleep(300);
  const loop = (ms: number): void => {
    const end = performance.now() + ms;
    for (let bursts = 0; (bursts & 15) !== 0 || performance.now() < end; bursts++) {
      port.fill();
      const count = core.receive(0, limits.BURST_MAX);
      if (count === 0) {
        pollPorts([port], 1);
        continue;
      }
      hairpin(count, 256, port.layer === 2 ? 1 : 0);
      if (core.transmit(count) !== 0) port.kick();
      core.recycle(count);
    }
  };
  loop(WARM_MS);
  const before = received(far);
  const from = performance.now();
  const ranBefore = ranNs();
  loop(MEASURE_MS);
  const frames = received(far) - before;
  const perSecond = (frames / (performance.now() - from)) * 1000;
  const perCpuSecond = (frames / (ranNs() - ranBefore)) * 1e9;
  process.stdout.write(`${JSON.stringify({ perSecond, perCpuSecond, detail: port.detail })}\n`);
  await generator.terminate();
  port.close();
  process.exit(0);
}

if (isMainThread) await measure(process.argv[2] as PortKindName);
else await generate((workerData as { device: string }).device, (workerData as { layer: 2 | 3 }).layer);

// The shared memory of one endpoint and what the main thread writes into it: its own tables, two banks of them, and next hops.
import {
  Core,
  EndpointWriter,
  type LinearMemory,
  type MemoryPlan,
  NextHopTable,
  allocate,
  endpointTableBytes,
  planMemory,
  returnMemoryBytes,
} from '@openclb/core-wasm';
import { EndpointState, WorkerState } from '@openclb/core-wasm/layout';
import { type EndpointImage } from '@openclb/model';
import { type EndpointPlaces, endpointTables } from './endpoint-image.ts';
import { createLeftVms } from './endpoint-left.ts';
import { type PortInfo } from './worker-messages.ts';

export interface EndpointTablesOptions {
  /** Return memory: flows remembered at one time. */
  readonly flows: number;
  /** Rows of an image: addresses of VMs, of the VPC map, targets, tunnels. */
  readonly rows: number;
  readonly ports: number;
}

export interface EndpointTablesHandle {
  readonly plan: MemoryPlan;
  readonly memory: LinearMemory;
  /** The main thread's view of worker 0: reads counters, takes no packets. */
  readonly core: Core;
  readonly writer: EndpointWriter;
  readonly hops: NextHopTable;
  /** Says what is behind an index: link kind, own link address, MTU. */
  setPort(port: PortInfo): void;
  /** Writes an image into the bank that no burst reads, and flips. */
  write(image: EndpointImage, places: EndpointPlaces): Promise<void>;
  /** The worker was remade: what it remembered is gone. */
  forget(): void;
}

const NO_MAC = new Uint8Array(6);
const CHUNKS_PER_PORT = 512;
/** Milliseconds after which the worker counts as dead, and a dead one reads no bank. */
const FREE_TRIES = 1_000;

export async function createEndpointTables(options: EndpointTablesOptions): Promise<EndpointTablesHandle> {
  const plan = planMemory({
    flows: 0,
    ports: options.ports,
    portChunks: CHUNKS_PER_PORT,
    listeners: 1,
    targets: 1,
    groups: 1,
    hosts: 1,
    eips: 1,
    maglevSlots: 1,
    endpointSharedBytes: endpointTableBytes(options.rows),
    endpointBytes: returnMemoryBytes(options.flows),
  });
  const memory = allocate(plan);
  const core = await Core.open({ memory, plan, worker: 0, artefact: 'shared' });
  const writer = new EndpointWriter(plan, memory);
  const hops = new NextHopTable(plan, memory);
  const left = createLeftVms();

  const pulse = new Int32Array(memory.buffer, plan.workers[0]!.state + WorkerState.at.heartbeat, 1);

  /** The bank before the newest is free once a burst has adopted the newest, or two beats have passed without any burst. */
  async function bankIsFree(): Promise<void> {
    const from = Atomics.load(pulse, 0);
    for (let tries = 0; tries < FREE_TRIES; tries++) {
      if (writer.isAdopted || Atomics.load(pulse, 0) - from >= 2) return;
      await tick();
    }
  }

  return {
    plan,
    memory,
    core,
    writer,
    hops,
    setPort({ index, mac, mtu, layer }) {
      hops.setPort(index, { mac: mac ?? NO_MAC, mtu, kind: layer === 2 ? 'ethernet' : 'ip' });
    },
    async write(image, places) {
      await bankIsFree();
      const tables = endpointTables(image, places);
      // What has left takes the room that is left: it must never be why an image is refused.
      const room = Math.max(writer.capacity - tables.entries.length, 0);
      writer.write({ ...tables, entries: [...tables.entries, ...left.update(image).slice(0, room)] });
    },
    forget() {
      const { endpoint, endpointBytes } = plan.workers[0]!;
      core.bytes.fill(0, endpoint + EndpointState.bytes, endpoint + endpointBytes);
    },
  };
}

const tick = (): Promise<void> => new Promise((resolve) => void setTimeout(resolve, 1));

// One core instance on a planned memory, and the views over it. This is what a director's worker drives.
//
// Calling order:
//   main thread   const plan = planMemory({ workers: 1, flows: 1 << 20 });        // refuses what does not fit 4 GiB
//                 const memory = allocate(plan);                                  // shared, fixed size, map written
//                 const writer = new ImageWriter(plan, memory, slots); writer.write(image);   // standby bank, then the generation word
//                 const hops = new NextHopTable(plan, memory); hops.setPort(0, { mac, mtu, kind: 'ethernet' });
//                 hops.setRoute(prefix, length, gateway | null, port, pmtu); hops.setNeighbour(address, mac, port);
//   worker        const core = await Core.open({ memory, plan, worker: 0, artefact: 'shared' });
//                 for (;;) { core.adopt();                                        // between bursts: takes the newest bank, acknowledges it
//                            const n = core.receive(port, 64);                    // a port's ring → PacketRecords
//                            core.forwardBurst(n, nowMs);                         // the walks → a verdict in every record
//                            const kicks = core.transmit(n);                      // Forward → the ports' rings; bit p: kick port p
//                            …look at verdict Punt and Held in the records…       // copy what is to be kept: chunks go back next
//                            core.recycle(n); core.expireFlows(nowMs); core.takeUnresolved(); }
//   probes        n = core.craftProbes([{ targetSlot, ...ProbePacket }], nowMs); core.transmit(n); kick; core.recycle(n);
//                 replies are punted with Reason.Probe: core.currentPacket(index) is the inner IP packet, core.currentNet(index) its net
//   own frames    n = core.inject([ipPacket, …]); core.emitBurst(n, nowMs); core.transmit(n); core.recycle(n);
//                 (complete IP packets, such as held ones and probes: `emit` looks up the next hop and adds the link header)
// A memory is never grown, so views stay valid for the life of the process.
import { LAYOUT_HASH, PacketRecord, WorkerState, limits, reasonEnum } from '../layout/index.ts';
import { loadArtefact } from './artefact.ts';
import { buildProbe, type ProbePacket } from './probe.ts';
import type { LinearMemory, MemoryPlan, WorkerPlan } from './plan.ts';

/** Which build of the core: plain memory, shared memory, with assertions, or with trace records. */
export type Artefact = 'plain' | 'shared' | 'check' | 'trace' | 'sync' | 'binding';

/** What `Core.open` needs: the memory, its plan, and which worker this is. */
export interface CoreOptions {
  readonly memory: LinearMemory;
  readonly plan: MemoryPlan;
  /** Worker number, or 'explainer'. */
  readonly worker: number | 'explainer';
  readonly artefact: Artefact;
  /** Compiled module; read from the package's files when absent, which needs Node. */
  readonly module?: object;
}

/** The exports of the wasm, as assembly/index.ts lists them. */
export type CoreExports = Record<string, (...values: number[]) => number>;

/**
 * A next hop without a link address, which the host has to ask for (ARP, RFC 826; neighbour discovery, RFC 4861).
 */
export interface UnresolvedNextHop {
  readonly address: Uint8Array;
  readonly port: number;
}

/**
 * One instance of the packet core on a planned memory: bursts in, verdicts out. The calling order stands at the top
 * of this file; it throws an Error when the memory was laid out for another version.
 */
export class Core {
  readonly plan: MemoryPlan;
  readonly worker: WorkerPlan;
  readonly memory: LinearMemory;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly exports: CoreExports;

  private constructor(options: CoreOptions, exports: CoreExports) {
    this.plan = options.plan;
    this.memory = options.memory;
    this.worker = workerPlanOf(options.plan, options.worker);
    this.bytes = new Uint8Array(options.memory.buffer);
    this.view = new DataView(options.memory.buffer);
    this.exports = exports;
  }

  /** Instantiates the artefact on the memory and points it at its worker's regions. */
  static async open(options: CoreOptions): Promise<Core> {
    const module = (options.module ?? (await loadArtefact(options.artefact))) as WebAssembly.Module;
    const memory = options.memory as WebAssembly.Memory;
    const abort = (_message: number, _file: number, line: number, column: number): never => {
      throw new Error(`The packet core failed an assertion at line ${line}, column ${column}`);
    };
    const instance = await WebAssembly.instantiate(module, { env: { memory, abort } });
    const exports = instance.exports as unknown as CoreExports;
    const number = options.worker === 'explainer' ? options.plan.workers.length : options.worker;
    if (exports.init?.(options.plan.mapAddress, number) !== 1) {
      const stale = `core ${((exports.layoutHash?.() ?? 0) >>> 0).toString(16)}, this package ${LAYOUT_HASH.toString(16)}`;
      throw new Error(
        `The packet core refused the memory: it was laid out for another version (${stale}); build the package again`,
      );
    }
    const core = new Core(options, exports);
    if (options.worker !== 'explainer') core.seed();
    return core;
  }

  /** Random keys for the flow hash, so nobody outside can aim at a bucket. Kept when the worker is remade on the same memory. */
  private seed(): void {
    const at = this.worker.state + WorkerState.at.sipKey0;
    if (this.view.getBigUint64(at, true) !== 0n) return;
    const key = crypto.getRandomValues(new Uint8Array(16));
    this.bytes.set(key, at);
  }

  private call(name: string, ...values: number[]): number {
    const found = this.exports[name];
    if (found === undefined) throw new Error(`The packet core has no ${name}: build the package again`);
    return found(...values);
  }

  /** Takes the newest image bank, between bursts only. Returns its generation number; 0 before the first image. */
  adopt(): number {
    return this.call('adopt') >>> 0;
  }
  receive(port: number, max: number): number {
    return this.call('receive', port, max);
  }
  /** Returns how many records there are now: the core may add packets behind the received ones. */
  forwardBurst(count: number, nowMs: number): number {
    return this.call('forwardBurst', count, nowMs);
  }
  endpointBurst(count: number, nowMs: number): void {
    this.call('endpointBurst', count, nowMs);
  }
  /** Next hop and link header for complete IP packets: held packets, probes. */
  emitBurst(count: number, nowMs: number): void {
    this.call('emitBurst', count, nowMs);
  }
  transmit(count: number): number {
    return this.call('transmit', count) >>> 0;
  }
  recycle(count: number): void {
    this.call('recycle', count);
  }
  /** Looks at the next EXPIRE_STEP entries; returns how many flows ended. */
  expireFlows(nowMs: number): number {
    return this.call('expireFlows', nowMs);
  }

  /** Address of packet record `index`; its fields are at PacketRecord.at. */
  record(index: number): number {
    return this.worker.burst + index * PacketRecord.bytes;
  }
  verdict(index: number): number {
    return this.bytes[this.record(index) + PacketRecord.at.verdict] as number;
  }
  reason(index: number): number {
    return this.bytes[this.record(index) + PacketRecord.at.reason] as number;
  }
  portIn(index: number): number {
    return this.bytes[this.record(index) + PacketRecord.at.portIn] as number;
  }

  /** The frame of a record, in place: a view that is right until `recycle`. */
  frame(index: number): Uint8Array {
    const record = this.record(index);
    const address = this.worker.slab + this.view.getUint32(record + PacketRecord.at.address, true);
    return this.bytes.subarray(address, address + this.view.getUint32(record + PacketRecord.at.length, true));
  }

  /** The frame from its (outermost) IP header on; of a Held or Punt packet this is the complete IP packet. */
  ipPacket(index: number): Uint8Array {
    return this.frame(index).subarray(this.view.getUint16(this.record(index) + PacketRecord.at.l2Bytes, true));
  }

  /** The current IP packet of a record: of a packet out of a tunnel the inner one, as a probe's reply is. In place, until `recycle`. */
  currentPacket(index: number): Uint8Array {
    const record = this.record(index);
    const address = this.worker.slab + this.view.getUint32(record + PacketRecord.at.address, true);
    const from = this.view.getUint16(record + PacketRecord.at.l3, true);
    return this.bytes.subarray(address + from, address + this.view.getUint32(record + PacketRecord.at.l3End, true));
  }

  /** Net of the current packet: the GRE key it came with, or 0. */
  currentNet(index: number): number {
    return this.view.getUint32(this.record(index) + PacketRecord.at.net, true);
  }

  /** Probes in the tunnels of their targets, ready to be transmitted. Those without a way out have the verdict Drop or Held. */
  craftProbes(probes: readonly (ProbePacket & { readonly targetSlot: number })[], nowMs: number): number {
    const count = this.inject(probes.map(buildProbe));
    for (let index = 0; index < count; index++) {
      this.view.setUint32(
        this.record(index) + PacketRecord.at.targetSlot,
        probes[index]?.targetSlot ?? limits.NONE,
        true,
      );
    }
    this.call('probeBurst', count, nowMs);
    return count;
  }

  /** Copies frames into chunks that no port owns and writes their records. Returns how many fitted (BURST_MAX, injectChunks). */
  inject(frames: readonly Uint8Array[], portIn = 255, flags = 0): number {
    const count = Math.min(frames.length, limits.BURST_MAX, this.worker.injectChunks);
    for (let index = 0; index < count; index++) {
      const frame = frames[index] as Uint8Array;
      const chunk = this.worker.injectChunk + index * limits.CHUNK_BYTES;
      const headroom = Math.min(128, limits.CHUNK_BYTES - frame.length);
      if (headroom < 0)
        throw new RangeError(`A frame of ${frame.length} bytes does not fit a chunk of ${limits.CHUNK_BYTES}`);
      const record = this.record(index);
      this.bytes.fill(0, record, record + PacketRecord.bytes);
      this.view.setUint32(record + PacketRecord.at.address, chunk + headroom, true);
      this.view.setUint32(record + PacketRecord.at.length, frame.length, true);
      this.view.setUint32(record + PacketRecord.at.chunk, chunk, true);
      this.view.setUint16(record + PacketRecord.at.flags, flags, true);
      this.bytes[record + PacketRecord.at.portIn] = portIn;
      this.bytes.set(frame, this.worker.slab + chunk + headroom);
    }
    return count;
  }

  /** Next hops that were asked for since the last call. */
  takeUnresolved(): UnresolvedNextHop[] {
    const { unresolvedHead, unresolvedTail } = WorkerState.at;
    const head = this.view.getUint32(this.worker.state + unresolvedHead, true);
    let tail = this.view.getUint32(this.worker.state + unresolvedTail, true);
    if (head - tail > limits.UNRESOLVED_MAX) tail = head - limits.UNRESOLVED_MAX;
    const found: UnresolvedNextHop[] = [];
    for (; tail < head; tail++) {
      const row = this.worker.unresolved + (tail % limits.UNRESOLVED_MAX) * 32;
      found.push({ address: this.bytes.slice(row, row + 16), port: this.view.getUint32(row + 16, true) });
    }
    this.view.setUint32(this.worker.state + unresolvedTail, head, true);
    return found;
  }

  /** Counters by name: verdicts, flows, and every reason that was counted. */
  counters(): Record<string, number> {
    const counters: Record<string, number> = {};
    for (const [name, [type]] of Object.entries(WorkerState.fields)) {
      if (type !== 'u64' || name.startsWith('sip')) continue;
      counters[name] = Number(
        this.view.getBigUint64(this.worker.state + WorkerState.at[name as keyof typeof WorkerState.at], true),
      );
    }
    counters.flowsActive = this.view.getUint32(this.worker.state + WorkerState.at.flowCount, true);
    for (const [name, [value]] of Object.entries(reasonEnum.members)) {
      const count = Number(this.view.getBigUint64(this.worker.reasons + value * 8, true));
      if (count > 0) counters[`reason.${name}`] = count;
    }
    return counters;
  }
}

function workerPlanOf(plan: MemoryPlan, worker: number | 'explainer'): WorkerPlan {
  const found = worker === 'explainer' ? plan.explainer : plan.workers[worker];
  if (found === undefined)
    throw new RangeError(`The memory plan has ${plan.workers.length} workers; there is no worker ${worker}`);
  return found;
}

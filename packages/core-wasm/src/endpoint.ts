// Writes the endpoint's image tables (data-plane.md P7, P11): into the bank that nobody uses, then one word flips all workers.
// Addresses are 16 bytes (IPv4 as ::ffff:a.b.c.d). The hash is that of assembly/endpoint/bank.ts; a fixture fails when they part.
import {
  ControlBlock,
  EndpointBank,
  EndpointKind,
  EndpointPort,
  EndpointRow,
  EndpointState,
  EndpointTunnel,
  ReturnEntry,
  endpointLimits,
  limits,
} from '../layout/index.ts';
import type { LinearMemory, MemoryPlan } from './plan.ts';

export type EndpointKindName = Exclude<keyof typeof EndpointKind, 'Empty'>;

/** What a key means to this machine; see EndpointKind for which fields a kind uses. */
export interface EndpointEntry {
  readonly kind: EndpointKindName;
  readonly address: Uint8Array;
  readonly net?: number;
  readonly port?: number;
  readonly protocol?: number;
  /** Place: underlay address of the host. */
  readonly value?: Uint8Array;
  /** Vm: link address and index of the port. */
  readonly mac?: Uint8Array;
  readonly device?: number;
  /** Source: the VPC id that the address names. Left: when the VM left, in ms of the clock. */
  readonly link?: number;
  /** EndpointFlag bits. */
  readonly flags?: number;
}

export interface AddressesByFamily {
  readonly v4?: Uint8Array;
  readonly v6?: Uint8Array;
}

/** The image of an endpoint (data-plane.md P7): VMs, VPC map, routes, trusted outer sources. */
export interface EndpointTables {
  readonly entries: readonly EndpointEntry[];
  /** VMs by port. */
  readonly vms: readonly { readonly port: number; readonly net: number; readonly mac: Uint8Array }[];
  /** Tunnel addresses of directors; `name` is the same on every endpoint, so all of them choose alike. */
  readonly tunnels: readonly (AddressesByFamily & { readonly name: string })[];
  readonly underlay: AddressesByFamily;
  readonly anycast: AddressesByFamily;
  /** Source addresses of ICMP errors to VMs. */
  readonly gateway: Required<AddressesByFamily>;
  readonly gatewayMac: Uint8Array;
  readonly inside?: { readonly port: number; readonly mac: Uint8Array };
}

const HEADER_BYTES = EndpointBank.bytes + limits.PORTS_MAX * EndpointPort.bytes;
const TUNNELS_BYTES = endpointLimits.ENDPOINT_TUNNELS_MAX * EndpointTunnel.bytes;
const TABLE_OFFSET = Math.ceil((HEADER_BYTES + TUNNELS_BYTES) / 64) * 64;

/** Bytes to plan for tables of this many rows: `endpointSharedBytes` of planMemory. */
export function endpointTableBytes(rows: number): number {
  const slots = Math.ceil((rows * 8) / endpointLimits.ENDPOINT_FILL_EIGHTHS) + 64;
  return 2 * (TABLE_OFFSET + slots * EndpointRow.bytes);
}

/** Bytes to plan for a return memory of this many entries: `endpointBytes` of planMemory. */
export function returnMemoryBytes(entries: number): number {
  return (
    EndpointState.bytes +
    Math.ceil(entries / endpointLimits.RETURN_WAYS) * endpointLimits.RETURN_WAYS * ReturnEntry.bytes
  );
}

/**
 * Writes images of an endpoint into its standby tables. Throws a RangeError when a table is too small, with the
 * option to raise.
 */
export class EndpointWriter {
  private readonly plan: MemoryPlan;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;

  /** Prepares the regions of every worker as well; a memory has one writer. */
  constructor(plan: MemoryPlan, memory: LinearMemory) {
    this.plan = plan;
    this.bytes = new Uint8Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    if (this.slots < 1) throw new RangeError('The memory plan has no room for the endpoint: set endpointSharedBytes');
    for (const worker of plan.workers) this.prepare(worker.endpoint, worker.endpointBytes);
  }

  /** Generation that new bursts use; 0 before the first write. */
  get generation(): number {
    return Atomics.load(this.words, this.generationWord);
  }

  /** True when every worker uses the newest generation, so the other bank is free. */
  get isAdopted(): boolean {
    const at = (worker: { endpoint: number }) => this.view.getUint32(worker.endpoint + EndpointState.at.adopted, true);
    return this.plan.workers.every((worker) => at(worker) === this.generation);
  }

  /** How many entries fit. */
  get capacity(): number {
    return Math.floor((this.slots * endpointLimits.ENDPOINT_FILL_EIGHTHS) / 8);
  }

  /** Writes the other bank and flips. Throws, and changes nothing that a packet sees, when the tables do not fit. */
  write(tables: EndpointTables): number {
    const generation = this.generation + 1;
    const base = this.plan.map.endpointShared + ((generation & 1) === 0 ? 0 : this.half);
    this.check(tables);
    this.bytes.fill(0, base, base + TABLE_OFFSET + this.slots * EndpointRow.bytes);
    this.writeHeader(base, generation, tables);
    this.writePorts(base + EndpointBank.bytes, tables);
    this.writeTunnels(base + HEADER_BYTES, tables);
    let rows = 0;
    for (const entry of tables.entries) rows += this.insert(base + TABLE_OFFSET, entry) ? 1 : 0;
    this.view.setUint32(base + EndpointBank.at.rows, rows, true);
    Atomics.store(this.words, this.generationWord, generation);
    return generation;
  }

  /** Counters of the return memory and of the ways out, summed over the workers. */
  counters(): Record<string, number> {
    const counters: Record<string, number> = {};
    for (const [name, [type]] of Object.entries(EndpointState.fields)) {
      if (type !== 'u64') continue;
      const offset = EndpointState.at[name as keyof typeof EndpointState.at];
      const values = this.plan.workers.map((worker) => Number(this.view.getBigUint64(worker.endpoint + offset, true)));
      counters[`endpoint.${name}`] = values.reduce((sum, value) => sum + value, 0);
    }
    return counters;
  }

  private get half(): number {
    return Math.floor(this.plan.map.endpointSharedBytes / 2 / 64) * 64;
  }
  private get slots(): number {
    return Math.floor((this.half - TABLE_OFFSET) / EndpointRow.bytes);
  }
  private get words(): Int32Array {
    return new Int32Array(this.bytes.buffer, this.plan.map.control, ControlBlock.bytes / 4);
  }
  private get generationWord(): number {
    return ControlBlock.at.endpointGeneration / 4;
  }

  private prepare(base: number, bytes: number): void {
    const sets = Math.floor((bytes - EndpointState.bytes) / (endpointLimits.RETURN_WAYS * ReturnEntry.bytes));
    if (sets < 1) throw new RangeError('The memory plan has no room for the return memory: set endpointBytes');
    this.view.setUint32(base + EndpointState.at.sets, sets, true);
    this.view.setUint32(base + EndpointState.at.entries, base + EndpointState.bytes, true);
    this.bytes.set(crypto.getRandomValues(new Uint8Array(4)), base + EndpointState.at.seed);
  }

  private check(tables: EndpointTables): void {
    if (tables.entries.length > this.capacity)
      throw new RangeError(
        `The image has ${tables.entries.length} endpoint rows and ${this.capacity} fit: plan more rows`,
      );
    if (tables.tunnels.length > endpointLimits.ENDPOINT_TUNNELS_MAX)
      throw new RangeError(
        `The image has ${tables.tunnels.length} tunnel addresses and ${endpointLimits.ENDPOINT_TUNNELS_MAX} fit`,
      );
    for (const { port } of tables.vms) {
      if (port < 1 || port >= limits.PORTS_MAX) throw new RangeError(`Port ${port} cannot be that of a VM`);
    }
  }

  private writeHeader(base: number, generation: number, tables: EndpointTables): void {
    const at = EndpointBank.at;
    const words = {
      generation,
      slots: this.slots,
      tunnels: tables.tunnels.length,
      ports: base + EndpointBank.bytes,
      tunnelRows: base + HEADER_BYTES,
      table: base + TABLE_OFFSET,
      insidePort: tables.inside?.port ?? endpointLimits.NO_PORT,
    };
    for (const [name, value] of Object.entries(words))
      this.view.setUint32(base + at[name as keyof typeof words], value, true);
    this.put(base + at.underlay4, tables.underlay.v4);
    this.put(base + at.underlay6, tables.underlay.v6);
    this.put(base + at.anycast4, tables.anycast.v4);
    this.put(base + at.anycast6, tables.anycast.v6);
    this.put(base + at.gateway4, tables.gateway.v4);
    this.put(base + at.gateway6, tables.gateway.v6);
    this.put(base + at.gatewayMac, tables.gatewayMac);
    this.put(base + at.insideMac, tables.inside?.mac);
  }

  private writePorts(base: number, tables: EndpointTables): void {
    for (const { port, net, mac } of tables.vms) {
      const row = base + port * EndpointPort.bytes;
      this.view.setUint32(row + EndpointPort.at.net, net, true);
      this.put(row + EndpointPort.at.mac, mac);
      this.view.setUint16(row + EndpointPort.at.isVm, 1, true);
    }
  }

  private writeTunnels(base: number, tables: EndpointTables): void {
    for (const [index, tunnel] of tables.tunnels.entries()) {
      const row = base + index * EndpointTunnel.bytes;
      this.put(row + EndpointTunnel.at.v4, tunnel.v4);
      this.put(row + EndpointTunnel.at.v6, tunnel.v6);
      this.view.setUint32(row + EndpointTunnel.at.seed, seedOf(tunnel.name), true);
    }
  }

  /** False when the key is there already: the first one counts. */
  private insert(table: number, entry: EndpointEntry): boolean {
    const hash = hashEndpointKey(entry);
    let slot = Number((BigInt(hash) * BigInt(this.slots)) >> 32n);
    for (;;) {
      const row = table + slot * EndpointRow.bytes;
      if (this.bytes[row + EndpointRow.at.kind] === EndpointKind.Empty) break;
      if (this.isSameKey(row, hash, entry)) return false;
      slot = slot + 1 === this.slots ? 0 : slot + 1;
    }
    const row = table + slot * EndpointRow.bytes;
    const at = EndpointRow.at;
    this.put(row + at.address, entry.address);
    this.put(row + at.value, entry.value);
    this.put(row + at.mac, entry.mac);
    this.view.setUint32(row + at.net, entry.net ?? 0, true);
    this.view.setUint32(row + at.hash, hash, true);
    this.view.setUint16(row + at.port, entry.port ?? 0, true);
    this.view.setUint16(row + at.device, entry.device ?? 0, true);
    this.view.setUint32(row + at.link, entry.link ?? 0, true);
    this.view.setUint32(row + at.flags, entry.flags ?? 0, true);
    this.bytes[row + at.protocol] = entry.protocol ?? 0;
    this.bytes[row + at.kind] = EndpointKind[entry.kind];
    return true;
  }

  private isSameKey(row: number, hash: number, entry: EndpointEntry): boolean {
    const at = EndpointRow.at;
    return (
      this.view.getUint32(row + at.hash, true) === hash &&
      this.bytes[row + at.kind] === EndpointKind[entry.kind] &&
      this.view.getUint32(row + at.net, true) === (entry.net ?? 0) &&
      this.view.getUint16(row + at.port, true) === (entry.port ?? 0) &&
      this.bytes[row + at.protocol] === (entry.protocol ?? 0) &&
      entry.address.every((byte, index) => this.bytes[row + at.address + index] === byte)
    );
  }

  private put(address: number, value: Uint8Array | undefined): void {
    if (value !== undefined) this.bytes.set(value, address);
  }
}

/** Hash of a row's key, as the core computes it. */
export function hashEndpointKey(entry: EndpointEntry): number {
  const words = new DataView(entry.address.buffer, entry.address.byteOffset, 16);
  let hash = 0;
  for (let offset = 0; offset < 16; offset += 4) hash = mix(hash, words.getUint32(offset, true));
  hash = mix(hash, entry.net ?? 0);
  return finish(mix(hash, (entry.port ?? 0) | ((entry.protocol ?? 0) << 16) | (EndpointKind[entry.kind] << 24)));
}

function seedOf(name: string): number {
  let hash = 0;
  for (let index = 0; index < name.length; index++) hash = mix(hash, name.charCodeAt(index));
  return finish(hash);
}

function mix(hash: number, word: number): number {
  const mixed = Math.imul(hash ^ word, 0x9e3779b1);
  return mixed ^ (mixed >>> 15);
}

function finish(hash: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

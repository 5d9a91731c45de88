// Writes a director's image into the standby bank and flips (P5, P11, P12). What comes in is checked by the model's schema; here it is
// checked against the plan, and an image that does not fit is refused as a whole while the old one goes on.
import {
  AddressKind,
  BankHeader,
  BindingListener,
  ControlBlock,
  EipRow,
  GroupRow,
  Handshake,
  Health,
  HostRow,
  ListenerRow,
  MemberRow,
  PeerRow,
  RowFlag,
  TargetRow,
  TunnelRow,
  WorkerState,
  limits,
  syncLimits,
} from '../layout/index.ts';
import { type BuiltAccess } from './access-lists.ts';
import { AccessWriter, rootOf } from './access-writer.ts';
import { ENCAPSULATION, ON_REMOVE, ON_UNKNOWN, SCHEDULER, TRANSLATION, handshakeOf } from './image-words.ts';
import { AddressTable } from './address-table.ts';
import { isMapped, parseAddress } from './address.ts';
import { domainDigest } from './domain.ts';
import { maglev, sortedById } from './hash.ts';
import type { AddressPair, DirectorTables, ListenerInput } from './image-input.ts';
import type { LinearMemory, MemoryPlan } from './plan.ts';
import { ServiceMeters } from './service-meters.ts';
import type { Slots } from './slots.ts';

/** SYNs a second from which `auto` answers them itself when nothing is said. */
const SYN_RATE_DEFAULT = 10_000;

const syncAfterMs = ({ syncAfterSeconds }: ListenerInput): number =>
  syncAfterSeconds === undefined ? syncLimits.SYNC_AFTER_MS : syncAfterSeconds * 1000;

const serviceOf = ({ name, id }: ListenerInput): string => name ?? id;

/** Value of an accepted outer source that is no host. */
const NOT_A_HOST = limits.NONE - 1;

/**
 * Writes a generation into the standby bank and flips (data-plane.md P5, P11). Throws a RangeError when a table is
 * too small, and an Error for an image that contradicts itself; the generation in use then stays.
 */
export class ImageWriter {
  private readonly plan: MemoryPlan;
  private readonly slots: Slots;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly words: Int32Array;
  /** Maglev tables by what they are built from: an image that leaves a group alone costs it nothing. */
  private tables = new Map<string, Uint16Array>();
  /** Meters of the services of the image. */
  readonly meters: ServiceMeters;
  private readonly access: AccessWriter;

  constructor(plan: MemoryPlan, memory: LinearMemory, slots: Slots) {
    this.plan = plan;
    this.slots = slots;
    this.bytes = new Uint8Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.meters = new ServiceMeters(plan, memory);
    this.access = new AccessWriter(plan, memory);
  }

  /** Number of the newest complete bank; 0 before the first. */
  get generation(): number {
    return Atomics.load(this.words, (this.plan.map.control + ControlBlock.at.generation) / 4) >>> 0;
  }

  /** True when no worker reads the standby bank any more. Until then `write` refuses. */
  isFree(): boolean {
    const current = this.generation;
    return this.adopted().every((generation) => generation === 0 || generation === current);
  }

  /** True when every worker has taken the newest bank. */
  isApplied(): boolean {
    return this.adopted().every((generation) => generation === this.generation);
  }

  private adopted(): number[] {
    return this.plan.workers.map(
      (worker) => Atomics.load(this.words, (worker.state + WorkerState.at.adopted) / 4) >>> 0,
    );
  }

  /** Writes the whole image and raises the generation. Returns the new number. Throws a RangeError when the image does not fit. */
  write(image: DirectorTables, nowMs: number = Date.now()): number {
    if (!this.isFree())
      throw new Error('A worker still reads the standby bank: try again when it has adopted the newest one');
    const generation = this.generation + 1;
    const bank = generation % 2 === 0 ? this.plan.map.bankA : this.plan.map.bankB;
    const previous = this.generation === 0 ? 0 : generation % 2 === 0 ? this.plan.map.bankB : this.plan.map.bankA;
    // A list that cannot be built refuses the image before anything is written.
    const access = this.access.build(image.accessLists);
    this.assign(image, nowMs);
    this.bytes.fill(0, bank, bank + this.plan.map.bankAddresses);
    const addresses = new AddressTable(
      this.bytes.buffer,
      bank + this.plan.map.bankAddresses,
      this.plan.map.addressSlots,
    );
    this.writeHosts(image, bank, previous);
    this.writeTargets(image, bank, previous);
    this.writeGroups(image, bank);
    this.writeListeners(image, bank, previous, access);
    this.access.write(bank, access, image.listeners);
    this.writeEips(image, bank, addresses);
    this.writeAddresses(image, addresses);
    this.writeListenerAddresses(image, addresses);
    this.writeHeader(image, bank, generation, addresses.size);
    Atomics.store(this.words, (this.plan.map.control + ControlBlock.at.generation) / 4, generation | 0);
    return generation;
  }

  private assign(image: DirectorTables, nowMs: number): void {
    const holdMs = 2000 * image.listeners.reduce((most, listener) => Math.max(most, listener.idleSeconds), 60);
    const ids = (rows: readonly { readonly id: string }[]): string[] => sortedById(rows).map((row) => row.id);
    this.slots.listeners.assign(ids(image.listeners), nowMs, holdMs);
    this.slots.groups.assign(ids(image.groups), nowMs, 0);
    this.slots.hosts.assign(ids(image.hosts), nowMs, holdMs);
    this.slots.eips.assign(ids(image.eips), nowMs, 0);
    const added = this.slots.targets.assign(ids(image.targets), nowMs, holdMs);
    for (const id of added) this.setHealth(id, Health.Unknown);
    for (const group of image.groups)
      if (group.check.type === 'none') for (const { target } of group.targets) this.setHealth(target, Health.Alive);
  }

  /** Live verdict of the health checker on a target of the image; takes effect at once. */
  setHealth(targetId: string, health: number): void {
    const slot = this.slots.targets.slotOf(targetId);
    if (slot !== undefined) this.bytes[this.plan.map.health + slot] = health;
  }

  /** Rows of removed ids stay as they were, marked, for the flows that refer to them. */
  private copyTombstones(
    kind: 'listeners' | 'targets' | 'hosts',
    row: { bytes: number; at: { flags: number } },
    offset: number,
    bank: number,
    previous: number,
  ): void {
    if (previous === 0) return;
    for (const { slot } of this.slots[kind].tombstones()) {
      const to = bank + offset + slot * row.bytes;
      this.bytes.copyWithin(to, previous + offset + slot * row.bytes, previous + offset + (slot + 1) * row.bytes);
      const flags = to + row.at.flags;
      this.bytes[flags] = ((this.bytes[flags] ?? 0) & ~(RowFlag.Present | RowFlag.Guarded)) | RowFlag.Tombstone;
    }
  }

  private writeHosts(image: DirectorTables, bank: number, previous: number): void {
    const own = new Set(
      [...image.tunnels, image.anycast].flatMap(({ v4, v6 }) =>
        [v4, v6].flatMap((text) => (text === undefined ? [] : [parseAddress(text).toString()])),
      ),
    );
    for (const host of image.hosts) {
      for (const text of [host.v4, host.v6])
        if (text !== undefined && own.has(parseAddress(text).toString()))
          throw new RangeError(`Host ${host.id} has the tunnel address ${text}: a tunnel to it would never end`);
    }
    this.copyTombstones('hosts', HostRow, this.plan.map.bankHosts, bank, previous);
    for (const host of image.hosts) {
      const row = bank + this.plan.map.bankHosts + this.slot('hosts', host.id) * HostRow.bytes;
      this.id(row + HostRow.at.id, host.id);
      this.pair(row + HostRow.at.v4, row + HostRow.at.v6, host);
      this.view.setUint32(row + HostRow.at.flags, RowFlag.Present, true);
    }
  }

  private writeTargets(image: DirectorTables, bank: number, previous: number): void {
    this.copyTombstones('targets', TargetRow, this.plan.map.bankTargets, bank, previous);
    for (const target of image.targets) {
      const row = bank + this.plan.map.bankTargets + this.slot('targets', target.id) * TargetRow.bytes;
      const address = parseAddress(target.address);
      this.id(row + TargetRow.at.id, target.id);
      this.bytes.set(address, row + TargetRow.at.address);
      this.view.setUint32(row + TargetRow.at.net, target.net, true);
      this.view.setUint32(
        row + TargetRow.at.host,
        target.host === null ? limits.NONE : this.slot('hosts', target.host),
        true,
      );
      this.view.setUint16(row + TargetRow.at.port, target.port, true);
      this.bytes[row + TargetRow.at.encapsulation] = ENCAPSULATION[target.encapsulation];
      this.bytes[row + TargetRow.at.flags] = RowFlag.Present;
      this.bytes[row + TargetRow.at.family] = isMapped(address) ? 4 : 6;
    }
  }

  private writeGroups(image: DirectorTables, bank: number): void {
    let members = 0;
    let maglevSlots = 0;
    const tables = new Map<string, Uint16Array>();
    for (const group of sortedById(image.groups)) {
      const sorted = sortedById(group.targets.map(({ target, weight }) => ({ id: target, weight })));
      const key = JSON.stringify([group.slots, sorted]);
      const table = this.tables.get(key) ?? maglev(sorted, group.slots);
      tables.set(key, table);
      const weightSum = sorted.reduce((sum, member) => sum + member.weight, 0);
      if (members + sorted.length > this.plan.map.membersMax)
        throw new RangeError('The image has more group members than the memory plan: raise targets');
      if (maglevSlots + table.length > this.plan.map.maglevMax) {
        throw new RangeError(
          `The image needs more than ${this.plan.map.maglevMax} Maglev slots: raise maglevSlots in the memory plan or lower the slots of its groups`,
        );
      }
      const row = bank + this.plan.map.bankGroups + this.slot('groups', group.id) * GroupRow.bytes;
      this.id(row + GroupRow.at.id, group.id);
      this.view.setUint32(row + GroupRow.at.members, members, true);
      this.view.setUint32(row + GroupRow.at.memberCount, sorted.length, true);
      this.view.setUint32(row + GroupRow.at.maglev, maglevSlots, true);
      this.view.setUint32(row + GroupRow.at.slots, weightSum === 0 ? 0 : table.length, true);
      this.view.setUint32(row + GroupRow.at.weightSum, weightSum, true);
      for (const [index, member] of sorted.entries()) {
        const at = bank + this.plan.map.bankMembers + (members + index) * MemberRow.bytes;
        this.view.setUint32(at + MemberRow.at.target, this.slot('targets', member.id), true);
        this.view.setUint32(at + MemberRow.at.weight, member.weight, true);
      }
      new Uint16Array(this.bytes.buffer, bank + this.plan.map.bankMaglev + maglevSlots * 2, table.length).set(table);
      members += sorted.length;
      maglevSlots += table.length;
    }
    this.tables = tables;
  }

  private writeListeners(image: DirectorTables, bank: number, previous: number, access: BuiltAccess): void {
    this.copyTombstones('listeners', ListenerRow, this.plan.map.bankListeners, bank, previous);
    this.meters.assign(
      image.listeners.map((row) => ({ service: serviceOf(row), slot: this.slot('listeners', row.id) })),
    );
    for (const listener of image.listeners) {
      const row = bank + this.plan.map.bankListeners + this.slot('listeners', listener.id) * ListenerRow.bytes;
      const vip = parseAddress(listener.vip);
      this.id(row + ListenerRow.at.id, listener.id);
      this.bytes.set(vip, row + ListenerRow.at.vip);
      this.view.setUint32(row + ListenerRow.at.net, listener.net, true);
      this.view.setUint32(row + ListenerRow.at.group, this.slot('groups', listener.group), true);
      this.view.setUint32(row + ListenerRow.at.idleMs, listener.idleSeconds * 1000, true);
      this.view.setUint32(row + ListenerRow.at.newFlowsPerSecond, listener.newFlowsPerSecond ?? 0, true);
      this.view.setUint32(row + ListenerRow.at.syncAfterMs, syncAfterMs(listener), true);
      this.view.setUint16(row + ListenerRow.at.stickySeconds, listener.stickySeconds ?? 0, true);
      this.bytes[row + ListenerRow.at.onUnknown] = ON_UNKNOWN[listener.onUnknown ?? 'reset'];
      this.bytes[row + ListenerRow.at.handshake] = handshakeOf(listener);
      this.synRate(listener);
      this.view.setUint16(row + ListenerRow.at.vport, listener.vport, true);
      this.bytes[row + ListenerRow.at.protocol] = listener.protocol;
      this.bytes[row + ListenerRow.at.translation] = TRANSLATION[listener.translation];
      this.bytes[row + ListenerRow.at.scheduler] = SCHEDULER[listener.scheduler];
      this.view.setUint32(row + ListenerRow.at.meter, this.meters.meterOf(serviceOf(listener)), true);
      this.bytes[row + ListenerRow.at.flags] =
        RowFlag.Present |
        (listener.directReturn ? RowFlag.DirectReturn : 0) |
        (listener.access === undefined ? 0 : RowFlag.Guarded) |
        this.meters.flagOf(serviceOf(listener));
      this.view.setUint32(row + ListenerRow.at.access, rootOf(access, listener, isMapped(vip)), true);
      this.bytes[row + ListenerRow.at.onRemove] = ON_REMOVE[listener.onRemove];
      this.bytes[row + ListenerRow.at.family] = isMapped(vip) ? 4 : 6;
    }
  }

  private writeEips(image: DirectorTables, bank: number, addresses: AddressTable): void {
    for (const eip of image.eips) {
      const slot = this.slot('eips', eip.id);
      const row = bank + this.plan.map.bankEips + slot * EipRow.bytes;
      this.id(row + EipRow.at.id, eip.id);
      this.bytes.set(parseAddress(eip.eip), row + EipRow.at.eip);
      this.bytes.set(parseAddress(eip.address), row + EipRow.at.address);
      this.view.setUint32(row + EipRow.at.net, eip.net, true);
      this.view.setUint32(row + EipRow.at.host, this.slot('hosts', eip.host), true);
      this.view.setUint32(row + EipRow.at.flags, RowFlag.Present, true);
      addresses.put(AddressKind.Eip, 0, parseAddress(eip.eip), 0, 0, slot);
      addresses.put(AddressKind.EipPrivate, eip.net, parseAddress(eip.address), 0, 0, slot);
    }
  }

  private writeAddresses(image: DirectorTables, addresses: AddressTable): void {
    const put = (kind: number, net: number, text: string | undefined, value: number): void => {
      if (text !== undefined) addresses.put(kind, net, parseAddress(text), 0, 0, value);
    };
    for (const tunnel of image.tunnels) {
      const value = tunnel.node === image.self.id ? tunnel.worker : 256;
      for (const text of [tunnel.v4, tunnel.v6]) put(AddressKind.Tunnel, 0, text, value);
    }
    for (const text of [image.anycast.v4, image.anycast.v6]) put(AddressKind.Anycast, 0, text, 0);
    for (const vip of image.vips) put(AddressKind.Vip, vip.net, vip.address, 0);
    for (const text of image.trusted) put(AddressKind.Trusted, 0, text, NOT_A_HOST);
    for (const host of image.hosts)
      for (const text of [host.v4, host.v6]) put(AddressKind.Trusted, 0, text, this.slot('hosts', host.id));
  }

  /** Listeners, and their targets as sources of replies. */
  private writeListenerAddresses(image: DirectorTables, addresses: AddressTable): void {
    const targets = new Map(image.targets.map((target) => [target.id, target]));
    const groups = new Map(image.groups.map((group) => [group.id, group]));
    for (const listener of sortedById(image.listeners)) {
      const slot = this.slot('listeners', listener.id);
      addresses.put(
        AddressKind.Listener,
        listener.net,
        parseAddress(listener.vip),
        listener.vport,
        listener.protocol,
        slot,
      );
      addresses.put(AddressKind.Vip, listener.net, parseAddress(listener.vip), 0, 0, 0);
      for (const { domain, group } of listener.domains ?? [])
        addresses.put(AddressKind.Domain, slot, domainDigest(domain), 0, 0, this.slot('groups', group));
      if (listener.directReturn || listener.translation === 'none') continue;
      const named = new Set([listener.group, ...(listener.domains ?? []).map(({ group }) => group)]);
      const members = new Set([...named].flatMap((id) => groups.get(id)?.targets.map(({ target }) => target) ?? []));
      for (const { id } of sortedById([...members].map((id) => ({ id })))) {
        const target = targets.get(id);
        if (target === undefined) continue;
        const address = parseAddress(target.address);
        const port = target.port === 0 ? listener.vport : target.port;
        const known = addresses.get(AddressKind.Rebuild, target.net, address, port, listener.protocol);
        // Two listeners on one target: a reply without a flow could belong to either, so it is not rebuilt (P8).
        const only = listener.translation === 'dnat' && (known === undefined || known === slot) ? slot : limits.NONE;
        addresses.put(AddressKind.Rebuild, target.net, address, port, listener.protocol, only);
        if (known === undefined)
          addresses.put(AddressKind.Target, target.net, address, port, listener.protocol, this.slot('targets', id));
        if (target.encapsulation === 'none' || target.encapsulation === 'l2')
          addresses.put(AddressKind.Routed, 0, address, 0, 0, 0);
      }
    }
  }

  private writeHeader(image: DirectorTables, bank: number, generation: number, entries: number): void {
    const word = (field: keyof typeof BankHeader.at, value: number): void =>
      this.view.setUint32(bank + BankHeader.at[field], value, true);
    word('generation', generation);
    for (const kind of ['listeners', 'targets', 'groups', 'hosts', 'eips'] as const) word(kind, this.slots[kind].end);
    word('addresses', entries);
    word('internalVips', [...image.vips, ...image.listeners].filter((row) => row.net !== 0).length);
    word('ordinal', image.self.ordinal);
    word('handshakes', image.listeners.filter((listener) => handshakeOf(listener) !== Handshake.Target).length);
    const pool = image.pool ?? { addresses: limits.LIPS, firstPort: 1024, ports: 64_512 };
    if (pool.addresses < 1 || pool.addresses > 254 || pool.ports < 1 || pool.firstPort + pool.ports > 65_536)
      throw new RangeError('pool needs 1 to 254 addresses, and ports that end at 65,535');
    word('poolAddresses', pool.addresses);
    word('poolFirst', pool.firstPort);
    word('poolPorts', pool.ports);
    this.writePeers(image, bank);
    this.pair(bank + BankHeader.at.anycast4, bank + BankHeader.at.anycast6, image.anycast);
    this.pair(bank + BankHeader.at.probe4, bank + BankHeader.at.probe6, image.probe);
    // Local addresses of this director: its /20 of 100.80.0.0/12, and its /48 of fd7c:6c64::/32, beside that of the probes (P18).
    const { ordinal } = image.self;
    const v4 = ordinal < 256 ? `100.${80 + (ordinal >> 4)}.${(ordinal & 15) << 4}.0` : undefined;
    this.pair(bank + BankHeader.at.lip4, bank + BankHeader.at.lip6, { v4, v6: `fd7c:6c64:${ordinal.toString(16)}::` });
    for (const tunnel of image.tunnels) {
      if (tunnel.node !== image.self.id) continue;
      const row = bank + this.plan.map.bankTunnels + tunnel.worker * TunnelRow.bytes;
      this.pair(row + TunnelRow.at.v4, row + TunnelRow.at.v6, tunnel);
    }
  }

  /** Without a key nobody is asked, and nobody's questions are believed. */
  private writePeers({ peers = [], peerKey }: DirectorTables, bank: number): void {
    if (peerKey?.length !== 16) return;
    const asked = peers.filter(({ v4, v6 }) => v4 !== undefined || v6 !== undefined).slice(0, syncLimits.PEERS_MAX);
    this.bytes.set(peerKey, bank + BankHeader.at.peerKey0);
    this.view.setUint32(bank + BankHeader.at.peers, asked.length, true);
    for (const [index, peer] of asked.entries()) {
      const row = bank + this.plan.map.bankPeers + index * PeerRow.bytes;
      this.pair(row + PeerRow.at.v4, row + PeerRow.at.v6, peer);
      this.view.setUint32(row + PeerRow.at.ordinal, peer.ordinal, true);
    }
  }

  /** For each worker, beside what it has counted. */
  private synRate({ id, synRate = SYN_RATE_DEFAULT }: ListenerInput): void {
    const offset = this.slot('listeners', id) * BindingListener.bytes + BindingListener.at.rate;
    for (const { bindingListeners } of this.plan.workers)
      if (bindingListeners !== 0) this.view.setUint32(bindingListeners + offset, synRate, true);
  }

  private slot(kind: keyof Slots, id: string): number {
    const found = this.slots[kind].slotOf(id);
    if (found === undefined) throw new RangeError(`The image names ${id} among its ${kind}, but has no such row`);
    return found;
  }

  private id(at: number, id: string): void {
    this.view.setBigUint64(at, BigInt(`0x${id}`), true);
  }

  private pair(at4: number, at6: number, pair: AddressPair): void {
    if (pair.v4 !== undefined) this.bytes.set(parseAddress(pair.v4), at4);
    if (pair.v6 !== undefined) this.bytes.set(parseAddress(pair.v6), at6);
  }
}

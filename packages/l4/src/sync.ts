// Flow sync of a director (data-plane.md P9, P40), on the main thread: looks through the workers' flow tables a piece at a time, tells the
// peers what they must know to go on with our flows, and keeps in the standby table what they tell. Packets wait for none of this.
import { type SyncRecord, type SyncTable } from '@openclb/core-wasm';
import { type DirectorImage } from '@openclb/model';
import { type Log } from './log.ts';
import { EVERYONE, SyncKind, batches, decodeSync, encodeSync, syncKey } from './sync-codec.ts';
import { PEER_ALIVE_MS, type PeerState, ownAddress, updatePeers } from './sync-peers.ts';
import { type SyncSocket } from './sync-socket.ts';
import { type SyncWorld, MACHINE } from './sync-world.ts';

/** How bulk sync travels: to each peer, once for all of them, or not at all. */
export type SyncMode = 'unicast' | 'multicast' | 'off';

export interface SyncOptions {
  readonly mode: SyncMode;
  readonly table: SyncTable;
  readonly log: Log;
  /** The machine's clocks and sockets when absent. */
  readonly world?: SyncWorld;
}

export interface FlowSync {
  /** Peers, secret and slots of a new image. */
  configure(image: DirectorImage): Promise<void>;
  /** Resolves when the peers have sent what they have, or nobody answers: before that no new flows should come here. */
  joined(): Promise<void>;
  /** The worker has lost its flows: asks for all of them. */
  recover(): void;
  /** Tells the peers everything at once, young flows too, and goes on like that: for a director that leaves. */
  handOver(): Promise<void>;
  counters(): Record<string, number>;
  close(): void;
}

const TURN_MS = 20;
/** Flow entries looked at in one turn: a table of a million is looked through in 320 ms. */
const SWEEP_ENTRIES = 65_536;
const EXPIRE_ROWS = 4_096;
/** Records that wait for a datagram above which flows without haste wait longer (P9). */
const BUSY_RECORDS = 8_192;
/** A datagram that is not full waits no longer than this. */
const BATCH_MS = 60;
/** About thirty datagrams. */
const RECORDS_PER_TURN = 900;
const PAGES_PER_TURN = 8;
/** Flows that a joining director hears of: by the time the copy is complete the younger ones are told in their turn. */
const COPY_AGE_MS = 1_000;
const COPY_EVERY_MS = 5_000;
/** A copy that has just been sent is not sent again. */
const COPY_PAUSE_MS = 1_000;
const KEEPALIVE_MS = 300;
const GAP_PATIENCE_MS = 300;
const ASK_EVERY_MS = 150;
/** A joining director waits this long for a first word, and this long for the end of a copy that has begun. */
const SILENT_MS = 600;
const HAND_OVER_MS_MAX = 2_000;
const JOIN_MS_MAX = 5_000;

/** Starts to look through the flow tables; nothing is told before an image names peers. */
export function startSync(options: SyncOptions): FlowSync {
  return new Syncer(options);
}

class Syncer implements FlowSync {
  private readonly options: SyncOptions;
  private readonly world: SyncWorld;
  private readonly startedMs: number;
  private readonly told: Record<string, number> = {};
  private readonly cursors: number[];
  private readonly stop: () => void;
  private peers = new Map<number, PeerState>();
  private socket: SyncSocket | null = null;
  private key: Buffer | null = null;
  private ordinal = 0;
  private toAllSequence = 0;
  private queue: SyncRecord[] = [];
  private queuedSinceMs = 0;
  private isLeaving = false;
  /** Times that a worker's table was looked through to its end. */
  private passes = 0;
  private configuredMs = 0;

  constructor(options: SyncOptions) {
    this.options = options;
    this.world = options.world ?? MACHINE;
    this.startedMs = this.world.unixMs();
    this.cursors = Array.from({ length: options.table.workers }, () => 0);
    this.stop = this.world.every(TURN_MS, () => this.turn());
  }

  async configure(image: DirectorImage): Promise<void> {
    const { table, mode } = this.options;
    table.learnSlots();
    refreshSlots(table, this.world.clock());
    if (mode === 'off') return;
    this.ordinal = image.self.ordinal;
    this.key = image.sync === undefined ? null : syncKey(image.sync.secret);
    this.peers = updatePeers(this.peers, image.sync?.peers ?? [], image.self.underlay);
    const own = ownAddress(image.self.underlay, this.peers.values());
    if (own === undefined) return;
    if (this.configuredMs === 0) this.configuredMs = this.world.clock() || 1;
    if (this.socket?.address !== own) await this.open(own);
  }

  async joined(): Promise<void> {
    const begun = this.world.clock();
    for (let waited = 0; this.socket !== null && waited < JOIN_MS_MAX; waited = (this.world.clock() - begun) >>> 0) {
      const open = [...this.peers.values()].filter(({ isAwaited }) => isAwaited);
      const isHeard = open.some(({ heardMs }) => heardMs !== 0);
      if (open.length === 0 || (!isHeard && waited > SILENT_MS)) return;
      await this.world.sleep(TURN_MS);
    }
  }

  recover(): void {
    for (const peer of this.peers.values()) Object.assign(peer, { isAwaited: true, askedMs: 0 });
    this.cursors.fill(0);
  }

  async handOver(): Promise<void> {
    if (this.peers.size === 0 || this.socket === null) return;
    this.isLeaving = true;
    this.cursors.fill(0);
    const complete = this.passes + this.cursors.length;
    const isDone = (): boolean => this.queue.length === 0 && this.passes >= complete;
    const begun = this.world.clock();
    while (!isDone() && (this.world.clock() - begun) >>> 0 < HAND_OVER_MS_MAX) await this.world.sleep(TURN_MS);
    this.count('handedOver');
  }

  counters(): Record<string, number> {
    const nowMs = this.world.clock();
    const peersAlive = [...this.peers.values()].filter((peer) => isAlive(peer, nowMs)).length;
    const { length: queued } = this.queue;
    return { ...this.options.table.counters(), ...this.told, queued, peers: this.peers.size, peersAlive };
  }

  close(): void {
    this.stop();
    this.socket?.close();
    this.socket = null;
  }

  private async open(address: string): Promise<void> {
    const { mode, log } = this.options;
    this.socket?.close();
    this.socket = null;
    try {
      const onDatagram = (bytes: Uint8Array, from: string): void => this.receive(bytes, from);
      this.socket = await this.world.open({ address, isMulticast: mode === 'multicast', onDatagram });
      log.info({ address, peers: this.peers.size, mode }, 'flow sync is on');
    } catch (error) {
      log.error({ address, reason: String(error) }, 'flow sync is off: its socket could not be opened');
    }
  }

  private turn(): void {
    const nowMs = this.world.clock();
    if (this.peers.size === 0 || this.socket === null || !this.options.table.begin(nowMs)) return;
    this.sweep(nowMs);
    this.flush(nowMs);
    for (const peer of this.peers.values()) {
      this.copyTo(peer, nowMs);
      this.look(peer, nowMs);
    }
    this.options.table.expire(EXPIRE_ROWS);
  }

  private sweep(nowMs: number): void {
    const { table } = this.options;
    if (this.queue.length > BUSY_RECORDS * 4) return this.count('sweepsSkipped');
    const haste = this.isLeaving ? 'all' : this.queue.length > BUSY_RECORDS ? 'none' : 'usual';
    for (const worker of this.cursors.keys()) {
      for (let pages = 0, left = SWEEP_ENTRIES; pages < PAGES_PER_TURN && left > 0; pages++) {
        const from = this.cursors[worker]!;
        const { records, next } = table.sweep(worker, from, left, haste);
        if (records.length > 0 && this.queue.length === 0) this.queuedSinceMs = nowMs;
        this.queue.push(...records);
        this.cursors[worker] = Math.max(0, next);
        left -= next - from;
        if (next >= 0) continue;
        this.passes++;
        break;
      }
    }
  }

  private flush(nowMs: number): void {
    if (this.queue.length === 0) return;
    const head = batches(this.queue.splice(0, RECORDS_PER_TURN));
    const isDue = this.isLeaving || this.queue.length > 0 || (nowMs - this.queuedSinceMs) >>> 0 >= BATCH_MS;
    const last = isDue ? undefined : head.pop();
    for (const batch of head) this.spread(batch);
    if (last !== undefined) this.queue.unshift(...last);
    else this.queuedSinceMs = nowMs;
  }

  /** One batch to everybody. */
  private spread(records: readonly SyncRecord[]): void {
    if (this.options.mode === 'multicast') this.send(SyncKind.Records, null, records);
    else for (const peer of this.peers.values()) this.send(SyncKind.Records, peer, records);
  }

  private send(kind: SyncKind, peer: PeerState | null, records: readonly SyncRecord[]): void {
    const { key, socket, ordinal: sender, startedMs: epoch } = this;
    if (key === null || socket === null) return;
    const sequence = peer === null ? ++this.toAllSequence : ++peer.sequence;
    const receiver = peer?.ordinal ?? EVERYONE;
    const bytes = encodeSync(key, { kind, sender, receiver, epoch, sequence, sentMs: this.world.unixMs(), records });
    if (peer === null) socket.sendToAll(bytes);
    else {
      peer.sentMs = this.world.clock();
      socket.send(bytes, peer.address);
    }
    this.count('datagramsSent');
    this.count('recordsSent', records.length);
    this.count('bytesSent', bytes.length);
  }

  /** The next piece of the copy that a peer is being sent. */
  private copyTo(peer: PeerState, nowMs: number): void {
    if (peer.copy === null) return;
    const { table } = this.options;
    const { worker, from } = peer.copy;
    const isStandby = worker >= table.workers;
    const { records, next } = isStandby
      ? table.copyStandby(from, SWEEP_ENTRIES)
      : table.copyFlows(worker, from, SWEEP_ENTRIES, COPY_AGE_MS);
    // What another living director owns it sends itself.
    const wanted = records.filter((record) => !isStandby || this.isOrphan(record, peer, nowMs));
    for (const batch of batches(wanted)) this.send(SyncKind.Records, peer, batch);
    if (next >= 0) peer.copy.from = next;
    else if (!isStandby) peer.copy = { worker: worker + 1, from: 0 };
    else {
      peer.copy = null;
      peer.copyEndedMs = nowMs;
      this.send(SyncKind.CopyDone, peer, []);
      this.count('copiesSent');
    }
  }

  private isOrphan(record: SyncRecord, asker: PeerState, nowMs: number): boolean {
    if (record.ordinal === asker.ordinal) return true;
    const owner = this.peers.get(record.ordinal);
    return owner === undefined || !isAlive(owner, nowMs);
  }

  /** Asks a peer for what we have missed, and lets it know that we live. */
  private look(peer: PeerState, nowMs: number): void {
    const gaps = [peer.toAll, peer.toUs].filter((window) => window.takeGap(this.world.unixMs(), GAP_PATIENCE_MS));
    if (gaps.length > 0) {
      this.count('gaps', gaps.length);
      peer.isAwaited = true;
    }
    // While we join it is asked again and again; later no more often than it would answer, and only if it lives.
    const isJoining = (nowMs - this.configuredMs) >>> 0 < JOIN_MS_MAX;
    const everyMs = isJoining ? ASK_EVERY_MS : COPY_EVERY_MS;
    const isTime = (nowMs - peer.askedMs) >>> 0 >= everyMs && (isJoining || isAlive(peer, nowMs));
    if (peer.isAwaited && isTime) {
      peer.askedMs = nowMs;
      this.send(SyncKind.AskCopy, peer, []);
    }
    if ((nowMs - peer.sentMs) >>> 0 >= KEEPALIVE_MS) this.send(SyncKind.Records, peer, []);
  }

  private receive(bytes: Uint8Array, from: string): void {
    const nowMs = this.world.clock();
    const { key, options, ordinal } = this;
    if (key === null || !options.table.begin(nowMs)) return;
    const message = decodeSync(key, bytes);
    if (typeof message === 'string') return this.count(`refused.${message}`);
    const peer = this.peers.get(message.sender);
    if (peer === undefined || peer.address !== from) return this.count('refused.stranger');
    if (message.receiver !== EVERYONE && message.receiver !== ordinal) return this.count('refused.receiver');
    const window = message.receiver === EVERYONE ? peer.toAll : peer.toUs;
    const refusal = window.accept(message.epoch, message.sequence, message.sentMs, this.world.unixMs());
    if (refusal !== null) return this.count(`refused.${refusal}`);
    peer.heardMs = nowMs || 1;
    this.count('datagramsReceived');
    this.count('recordsReceived', message.records.length);
    for (const record of message.records) options.table.take(record);
    if (message.kind === SyncKind.AskCopy) this.startCopy(peer, nowMs);
    if (message.kind !== SyncKind.CopyDone) return;
    peer.isAwaited = false;
    this.count('copiesReceived');
  }

  private startCopy(peer: PeerState, nowMs: number): void {
    const isRecent = peer.copyEndedMs !== 0 && (nowMs - peer.copyEndedMs) >>> 0 < COPY_PAUSE_MS;
    if (peer.copy === null && !isRecent) peer.copy = { worker: 0, from: 0 };
  }

  private count(name: string, by = 1): void {
    this.told[name] = (this.told[name] ?? 0) + by;
  }
}

function isAlive({ heardMs }: PeerState, nowMs: number): boolean {
  return heardMs !== 0 && (nowMs - heardMs) >>> 0 < PEER_ALIVE_MS;
}

/** Ids may mean other slots now, or something at last: every row is put in again. */
function refreshSlots(table: SyncTable, nowMs: number): void {
  if (!table.begin(nowMs) || table.counters()['rows'] === 0) return;
  for (let from = 0; from >= 0;) {
    const page = table.copyStandby(from, SWEEP_ENTRIES);
    for (const record of page.records) table.take(record);
    from = page.next;
  }
}

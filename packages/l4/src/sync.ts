// Flow sync of a director (data-plane.md P9, P40), on the main thread: looks through the workers' flow tables a piece at a time, tells the
// peers what they must know to go on with our flows, and keeps in the standby table what they tell. Packets wait for none of this.
import { type SyncRecord, type SyncTable } from '@openclb/core-wasm';
import { type DirectorImage } from '@openclb/model';
import { clock } from './clock.ts';
import { type Log } from './log.ts';
import { EVERYONE, SyncKind, batches, decodeSync, encodeSync, syncKey } from './sync-codec.ts';
import { PEER_ALIVE_MS, type PeerState, ownAddress, updatePeers } from './sync-peers.ts';
import { type SyncSocket, openSyncSocket } from './sync-socket.ts';

/** How bulk sync travels: to each peer, once for all of them, or not at all. */
export type SyncMode = 'unicast' | 'multicast' | 'off';

export interface SyncOptions {
  readonly mode: SyncMode;
  readonly table: SyncTable;
  readonly log: Log;
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
/** About sixty datagrams. */
const RECORDS_PER_TURN = 1_800;
const PAGES_PER_TURN = 8;
/** Flows that a joining director hears of: by the time the copy is complete the younger ones are told in their turn. */
const COPY_AGE_MS = 1_000;
const COPY_EVERY_MS = 5_000;
const KEEPALIVE_MS = 300;
const GAP_PATIENCE_MS = 300;
const ASK_EVERY_MS = 150;
/** A joining director waits this long for a first word, and this long for the end of a copy that has begun. */
const SILENT_MS = 600;
const HAND_OVER_MS_MAX = 2_000;
const JOIN_MS_MAX = 5_000;

export function startSync(options: SyncOptions): FlowSync {
  const { table, log, mode } = options;
  const startedMs = Date.now();
  const counters: Record<string, number> = {};
  const count = (name: string, by = 1): void => void (counters[name] = (counters[name] ?? 0) + by);
  let peers = new Map<number, PeerState>();
  let socket: SyncSocket | null = null;
  let key: Buffer | null = null;
  let ordinal = 0;
  let toAllSequence = 0;
  let queue: SyncRecord[] = [];
  let queuedSinceMs = 0;
  let isLeaving = false;
  /** Times that a worker's table was looked through to its end. */
  let passes = 0;
  let configuredMs = 0;
  const cursors = Array.from({ length: table.workers }, () => 0);

  function send(kind: SyncKind, peer: PeerState | null, records: readonly SyncRecord[]): void {
    if (key === null || socket === null) return;
    const sequence = peer === null ? ++toAllSequence : ++peer.sequence;
    const receiver = peer?.ordinal ?? EVERYONE;
    const bytes = encodeSync(key, {
      kind,
      sender: ordinal,
      receiver,
      epoch: startedMs,
      sequence,
      sentMs: Date.now(),
      records,
    });
    if (peer === null) socket.sendToAll(bytes);
    else {
      peer.sentMs = clock();
      socket.send(bytes, peer.address);
    }
    count('datagramsSent');
    count('recordsSent', records.length);
    count('bytesSent', bytes.length);
  }

  /** One batch to everybody who should have it. */
  function spread(records: readonly SyncRecord[]): void {
    if (mode === 'multicast') {
      send(SyncKind.Records, null, records);
      for (const peer of peers.values()) peer.sentMs = clock();
    } else for (const peer of peers.values()) send(SyncKind.Records, peer, records);
  }

  function flush(nowMs: number): void {
    if (queue.length === 0) return;
    const head = batches(queue.splice(0, RECORDS_PER_TURN));
    const isDue = isLeaving || queue.length > 0 || (nowMs - queuedSinceMs) >>> 0 >= BATCH_MS;
    const last = isDue ? undefined : head.pop();
    for (const batch of head) spread(batch);
    if (last !== undefined) queue.unshift(...last);
    else queuedSinceMs = nowMs;
  }

  function sweep(nowMs: number): void {
    if (queue.length > BUSY_RECORDS * 4) return count('sweepsSkipped');
    const haste = isLeaving ? 'all' : queue.length > BUSY_RECORDS ? 'none' : 'usual';
    for (const worker of cursors.keys()) {
      for (let pages = 0, left = SWEEP_ENTRIES; pages < PAGES_PER_TURN && left > 0; pages++) {
        const from = cursors[worker]!;
        const page = table.sweep(worker, from, left, haste);
        if (page.records.length > 0 && queue.length === 0) queuedSinceMs = nowMs;
        queue.push(...page.records);
        cursors[worker] = Math.max(0, page.next);
        left -= page.next - from;
        if (page.next >= 0) continue;
        passes++;
        break;
      }
    }
  }

  /** The next piece of each copy that is on its way. */
  function copyOut(nowMs: number): void {
    for (const peer of peers.values()) {
      if (peer.copy === null) continue;
      const { worker, from } = peer.copy;
      const isStandby = worker >= table.workers;
      const page = isStandby
        ? table.copyStandby(from, SWEEP_ENTRIES)
        : table.copyFlows(worker, from, SWEEP_ENTRIES, COPY_AGE_MS);
      // What another living director owns it sends itself.
      const records = page.records.filter((record) => !isStandby || isOrphan(record, peer, nowMs));
      for (const batch of batches(records)) send(SyncKind.Records, peer, batch);
      if (page.next >= 0) peer.copy.from = page.next;
      else if (!isStandby) peer.copy = { worker: worker + 1, from: 0 };
      else {
        peer.copy = null;
        peer.copyEndedMs = nowMs;
        send(SyncKind.CopyDone, peer, []);
        count('copiesSent');
      }
    }
  }

  function isOrphan(record: SyncRecord, asker: PeerState, nowMs: number): boolean {
    if (record.ordinal === asker.ordinal) return true;
    const owner = peers.get(record.ordinal);
    return owner === undefined || !isAlive(owner, nowMs);
  }

  const isAlive = (peer: PeerState, nowMs: number): boolean =>
    peer.heardMs !== 0 && (nowMs - peer.heardMs) >>> 0 < PEER_ALIVE_MS;

  function ask(peer: PeerState, nowMs: number): void {
    peer.isAwaited = true;
    if ((nowMs - peer.askedMs) >>> 0 < ASK_EVERY_MS) return;
    peer.askedMs = nowMs;
    send(SyncKind.AskCopy, peer, []);
  }

  function look(peer: PeerState, nowMs: number): void {
    const gaps = [peer.toAll, peer.toUs].filter((window) => window.takeGap(Date.now(), GAP_PATIENCE_MS));
    if (gaps.length > 0) {
      count('gaps', gaps.length);
      peer.isAwaited = true;
      peer.askedMs = 0;
    }
    // Who does not live cannot answer; it is asked when it is heard again.
    const sinceAsked = (nowMs - peer.askedMs) >>> 0;
    const isNew = (nowMs - configuredMs) >>> 0 < JOIN_MS_MAX;
    if (peer.isAwaited && (isNew || (isAlive(peer, nowMs) && sinceAsked > COPY_EVERY_MS))) ask(peer, nowMs);
    if ((nowMs - peer.sentMs) >>> 0 >= KEEPALIVE_MS) send(SyncKind.Records, peer, []);
  }

  function turn(): void {
    const nowMs = clock();
    if (peers.size === 0 || socket === null || !table.begin(nowMs)) return;
    sweep(nowMs);
    flush(nowMs);
    copyOut(nowMs);
    for (const peer of peers.values()) look(peer, nowMs);
    table.expire(EXPIRE_ROWS);
  }

  function receive(bytes: Uint8Array, from: string): void {
    const nowMs = clock();
    if (key === null || !table.begin(nowMs)) return;
    const message = decodeSync(key, bytes);
    if (typeof message === 'string') return count(`refused.${message}`);
    const peer = peers.get(message.sender);
    if (peer === undefined || peer.address !== from) return count('refused.stranger');
    if (message.receiver !== EVERYONE && message.receiver !== ordinal) return count('refused.receiver');
    const window = message.receiver === EVERYONE ? peer.toAll : peer.toUs;
    const refusal = window.accept(message.epoch, message.sequence, message.sentMs, Date.now());
    if (refusal !== null) return count(`refused.${refusal}`);
    peer.heardMs = nowMs || 1;
    count('datagramsReceived');
    if (message.kind === SyncKind.CopyDone) {
      peer.isAwaited = false;
      count('copiesReceived');
    } else if (message.kind === SyncKind.AskCopy) startCopy(peer, nowMs);
    for (const record of message.records) table.take(record);
    count('recordsReceived', message.records.length);
  }

  function startCopy(peer: PeerState, nowMs: number): void {
    const isRecent = peer.copyEndedMs !== 0 && (nowMs - peer.copyEndedMs) >>> 0 < COPY_EVERY_MS / 5;
    if (peer.copy !== null || isRecent) return;
    peer.copy = { worker: 0, from: 0 };
  }

  const timer = setInterval(turn, TURN_MS);
  return {
    async configure(image) {
      table.learnSlots();
      refreshSlots(table);
      if (mode === 'off' || image.sync === undefined) return;
      ordinal = image.self.ordinal;
      key = syncKey(image.sync.secret);
      peers = updatePeers(peers, image.sync.peers, image.self.underlay);
      const own = ownAddress(image.self.underlay, peers.values());
      if (own === undefined) return;
      if (configuredMs === 0) configuredMs = clock() || 1;
      if (socket?.address === own) return;
      socket?.close();
      socket = null;
      try {
        socket = await openSyncSocket({ address: own, isMulticast: mode === 'multicast', onDatagram: receive });
        log.info({ address: own, peers: peers.size, mode }, 'flow sync is on');
      } catch (error) {
        log.error({ address: own, reason: String(error) }, 'flow sync is off: its socket could not be opened');
      }
    },
    async joined() {
      const begun = performance.now();
      while (peers.size > 0 && socket !== null) {
        const waited = performance.now() - begun;
        const open = [...peers.values()].filter(({ isAwaited }) => isAwaited);
        const isHeard = open.some(({ heardMs }) => heardMs !== 0);
        if (open.length === 0 || waited > JOIN_MS_MAX || (!isHeard && waited > SILENT_MS)) return;
        await new Promise((resolve) => setTimeout(resolve, TURN_MS));
      }
    },
    recover() {
      for (const peer of peers.values()) Object.assign(peer, { isAwaited: true, askedMs: 0 });
      cursors.fill(0);
    },
    async handOver() {
      if (peers.size === 0 || socket === null) return;
      isLeaving = true;
      cursors.fill(0);
      const end = performance.now() + HAND_OVER_MS_MAX;
      const complete = passes + cursors.length;
      while (performance.now() < end && (queue.length > 0 || passes < complete))
        await new Promise((resolve) => setTimeout(resolve, TURN_MS));
      count('handedOver');
    },
    counters: () => ({
      ...table.counters(),
      ...counters,
      queued: queue.length,
      peers: peers.size,
      peersAlive: [...peers.values()].filter((peer) => isAlive(peer, clock())).length,
    }),
    close() {
      clearInterval(timer);
      socket?.close();
    },
  };
}

/** Ids may mean other slots now, or something at last: every row is put in again. */
function refreshSlots(table: SyncTable): void {
  if (!table.begin(clock()) || table.counters()['rows'] === 0) return;
  for (let from = 0; from >= 0;) {
    const page = table.copyStandby(from, SWEEP_ENTRIES);
    for (const record of page.records) table.take(record);
    from = page.next;
  }
}

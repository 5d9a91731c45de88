// Flow sync between two directors’ main threads over real sockets on loopback (data-plane.md P9, P40): copies, what is refused, gaps, leaving.
import { createSocket } from 'node:dgram';
import { SyncTable, buildProbe } from '@openclb/core-wasm';
import { address, toBytes16 } from '@openclb/model';
import { afterEach, expect, test } from 'vitest';
import { bytes, inverse, referenceImage } from '../test/director-fixture.ts';
import { clock } from './clock.ts';
import { createDirectorTables } from './director-tables.ts';
import { silentLog } from './log.ts';
import { TcpFlag } from './probe-answer.ts';
import { EVERYONE, SyncKind, type SyncMessage, encodeSync, syncKey } from './sync-codec.ts';
import { SYNC_PORT } from './sync-socket.ts';
import { clearWorker } from './worker-region.ts';
import { type FlowSync, type SyncMode, startSync } from './sync.ts';

const SECRET = 'ab'.repeat(32);
const KEY = syncKey(SECRET);
const PEERS = [1, 2].map((ordinal) => ({
  node: `ld${ordinal}`,
  ordinal,
  underlay: { v4: `127.0.9.${ordinal}` },
}));
const SIZES = { flows: 256, ports: 1, portChunks: 2, listeners: 16, targets: 16, groups: 16, hosts: 16, eips: 16 };
const open: { close(): unknown }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

interface Node {
  sync: FlowSync;
  /** A whole handshake of the client’s port. */
  connect(port: number): void;
  counters(): Record<string, number>;
  /** What the supervisor does when the packet worker has died. */
  loseWorker(): void;
}

async function start(ordinal: number, mode: SyncMode = 'unicast'): Promise<Node> {
  const tables = await createDirectorTables({ ...SIZES, maglevSlots: 4096 });
  const { core } = tables;
  const base = referenceImage(1);
  const image = {
    ...base,
    listeners: base.listeners.map((row) => ({ ...row, syncAfterSeconds: mode === 'multicast' ? 0 : 5 })),
    self: PEERS.map((peer) => ({ ...peer, id: peer.node }))
      .filter((peer) => peer.ordinal === ordinal)
      .map(({ id, underlay }) => ({ id, ordinal, underlay }))[0]!,
    tunnels: PEERS.map(({ node, ordinal: own }) => ({ node, worker: 0, v4: `10.254.${own}.1` })),
    sync: { secret: SECRET, peers: PEERS.filter((peer) => peer.ordinal !== ordinal) },
  };
  const written = tables.write(image);
  await new Promise((resolve) => setTimeout(resolve, 5));
  core.adopt();
  await written;
  const table = await SyncTable.open(tables.plan, tables.memory, tables.slots);
  const sync = startSync({ mode, table, log: silentLog });
  open.push(sync);
  await sync.configure(image);
  const send = (packet: Uint8Array): void => {
    core.inject([packet], 0, 1);
    core.forwardBurst(1, clock());
  };
  return {
    sync,
    counters: () => sync.counters(),
    loseWorker() {
      clearWorker(tables.plan, tables.memory);
      core.adopt();
      sync.recover();
    },
    connect(sourcePort) {
      const from = (tcpFlags: number): Uint8Array =>
        segment(['198.51.100.1', sourcePort], ['203.0.113.10', 80], tcpFlags);
      const answer = segment(['10.0.0.2', 8080], ['198.51.100.1', sourcePort], TcpFlag.Syn | TcpFlag.Ack);
      send(from(TcpFlag.Syn));
      send(tunnelled(answer, ordinal));
      send(from(TcpFlag.Ack));
    },
  };
}

type End = readonly [host: string, port: number];

function segment([source, sourcePort]: End, [destination, destinationPort]: End, tcpFlags: number): Uint8Array {
  const ends = { source: toBytes16(address(source)), destination: toBytes16(address(destination)) };
  return buildProbe({ protocol: 'tcp', ...ends, sourcePort, destinationPort, sequence: 1, tcpFlags });
}

/** From the target's host to the director's tunnel address, with the key of VPC 100. */
function tunnelled(packet: Uint8Array, ordinal: number): Uint8Array {
  const outer = bytes('4500 0000 0000 4000 402f 0000 0aff000b 0afe0001 2000 0800 00000064');
  outer.writeUInt16BE(outer.length + packet.length, 2);
  outer[18] = ordinal;
  outer.writeUInt16BE(inverse(outer.subarray(0, 20)), 10);
  return Buffer.concat([outer, packet]);
}

async function until(question: () => boolean, ms = 4_000): Promise<boolean> {
  for (const end = performance.now() + ms; performance.now() < end;) {
    if (question()) return true;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return question();
}

test('who joins is sent every flow before it says that it has joined', async () => {
  const one = await start(1);
  for (let port = 1; port <= 100; port++) one.connect(40_000 + port);
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  const two = await start(2);
  await two.sync.joined();
  expect(two.counters()).toMatchObject({ rows: 100, copiesReceived: 1, peersAlive: 1 });
});

test('by multicast one datagram reaches the peer, and what should be known at once is', async () => {
  const [one, two] = [await start(1, 'multicast'), await start(2, 'multicast')];
  await Promise.all([one.sync.joined(), two.sync.joined()]);
  for (let port = 1; port <= 20; port++) one.connect(40_000 + port);
  expect(await until(() => two.counters()['rows'] === 20)).toBe(true);
});

test('a packet worker that has died gets its flows back from the peers', async () => {
  const [one, two] = [await start(1, 'multicast'), await start(2, 'multicast')];
  await Promise.all([one.sync.joined(), two.sync.joined()]);
  for (let port = 1; port <= 20; port++) one.connect(40_000 + port);
  expect(await until(() => two.counters()['rows'] === 20)).toBe(true);
  expect(one.counters()['rows']).toBe(0);
  one.loseWorker();
  expect(await until(() => one.counters()['rows'] === 20)).toBe(true);
});

test('who stands alone has joined after a moment', async () => {
  const one = await start(1);
  const begun = performance.now();
  await one.sync.joined();
  expect(performance.now() - begun).toBeGreaterThan(500);
  expect(one.counters()).toMatchObject({ rows: 0, peersAlive: 0 });
});

test('who leaves hands over what is young as well', async () => {
  const [one, two] = [await start(1), await start(2)];
  await Promise.all([one.sync.joined(), two.sync.joined()]);
  for (let port = 1; port <= 50; port++) one.connect(40_000 + port);
  expect(two.counters()['rows']).toBe(0);
  await one.sync.handOver();
  expect(await until(() => two.counters()['rows'] === 50)).toBe(true);
});

test('forged, replayed, recorded and misdirected datagrams are refused and counted; a gap asks for a copy', async () => {
  const one = await start(1);
  const socket = createSocket('udp4');
  open.push(socket);
  await new Promise<void>((resolve) => socket.bind(0, '127.0.9.2', resolve));
  const stranger = createSocket('udp4');
  open.push(stranger);
  await new Promise<void>((resolve) => stranger.bind(0, '127.0.9.3', resolve));
  const message = (more: Partial<SyncMessage> = {}): SyncMessage => ({
    kind: SyncKind.Records,
    sender: 2,
    receiver: 1,
    epoch: Date.now() - 1_000,
    sequence: 1,
    sentMs: Date.now(),
    records: [],
    ...more,
  });
  const epoch = Date.now() - 1_000;
  const good = encodeSync(KEY, message({ epoch }));
  const version = Buffer.from(good);
  version[4] = 9;
  const send = (bytes: Uint8Array, from = socket): void => void from.send(bytes, SYNC_PORT, '127.0.9.1');
  send(good);
  send(good);
  send(version);
  send(encodeSync(syncKey('cd'.repeat(32)), message({ epoch, sequence: 2 })));
  send(Buffer.from('hello'));
  send(Buffer.alloc(200, 7));
  send(encodeSync(KEY, message({ epoch, sequence: 3, receiver: 7 })));
  send(encodeSync(KEY, message({ epoch, sequence: 4, sentMs: Date.now() - 61_000 })));
  send(encodeSync(KEY, message({ epoch: epoch - 5, sequence: 5 })));
  send(encodeSync(KEY, message({ epoch, sequence: 6 })), stranger);
  send(encodeSync(KEY, message({ sender: 5, epoch, sequence: 6 })));
  const wanted = { replayed: 1, version: 1, tag: 1, short: 1, magic: 1, receiver: 1, stale: 2, stranger: 2 };
  const refused = (): Record<string, number> =>
    Object.fromEntries(Object.keys(wanted).map((name) => [name, one.counters()[`refused.${name}`] ?? 0]));
  await until(() => JSON.stringify(refused()) === JSON.stringify(wanted));
  expect(refused()).toEqual(wanted);
  expect(one.counters()).toMatchObject({ datagramsReceived: 1, rows: 0 });
  send(encodeSync(KEY, message({ epoch, receiver: EVERYONE, sequence: 1 })));
  send(encodeSync(KEY, message({ epoch, receiver: EVERYONE, sequence: 4 })));
  expect(await until(() => one.counters()['gaps'] === 1)).toBe(true);
});

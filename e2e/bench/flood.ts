// The generator of forwarding.bench.ts, a process in the far namespace: small UDP frames of many flows, as many as one CPU can send.
// It fills frames once and sends them by sendmmsg through a packet port of our own; what arrives is counted by the kernel's device counters.
// A line on stdin, `DEVICE NODE-MAC VIP PORT MILLISECONDS`, is answered by one line of JSON.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { openPort } from '../../packages/l4/src/port/open.ts';
import { openCore, roomOf } from '../../packages/l4/src/port/rigs.ts';
import { ethernet, ipPacket, udp } from '../../tools/testkit/index.ts';

export interface Flood {
  /** Frames that the generator handed to the kernel, and frames that came back on the same device. */
  readonly sent: number;
  readonly received: number;
  readonly ms: number;
}

const FLOWS = 1_000;
const PAYLOAD = Buffer.alloc(18, 0x61);
const FRAME_ROOM = 64;
/** What queues hold may still arrive; only what arrived is counted. */
const SETTLE_MS = 60;
const BURST = 64;
const SOURCE_MAC = '0a:00:00:0c:00:00';

/** One source address a hundred flows; every checksum is true. */
function frameOfFlow(flow: number, nodeMac: string, vip: string, port: number): Buffer {
  const client = `198.51.100.${10 + Math.floor(flow / 100)}`;
  return ethernet(SOURCE_MAC, nodeMac, ipPacket(client, vip, udp(20_000 + flow, port, PAYLOAD)));
}

function receivedOn(device: string): number {
  const row = readFileSync('/proc/net/dev', 'utf8')
    .split('\n')
    .find((line) => line.trim().startsWith(`${device}:`));
  return Number(row?.split(':')[1]?.trim().split(/\s+/)[1] ?? 0);
}

async function flood(device: string, nodeMac: string, vip: string, vport: number, ms: number): Promise<Flood> {
  const core = await openCore();
  const port = await openPort({ kind: 'packet', index: 0, device, room: roomOf(core), steered: true });
  const frames = core.worker.slab + core.worker.injectChunk;
  const send = core.exports['send'] as (port: number, address: number, bytes: number) => number;
  let bytes = 0;
  for (let flow = 0; flow < FLOWS; flow++) {
    const frame = frameOfFlow(flow, nodeMac, vip, vport);
    bytes = frame.length;
    core.bytes.set(frame, frames + flow * FRAME_ROOM);
  }
  const before = receivedOn(device);
  const from = performance.now();
  let sent = 0;
  for (let next = 0; performance.now() - from < ms;) {
    for (let i = 0; i < BURST; i++, next = (next + 1) % FLOWS) send(0, frames + next * FRAME_ROOM, bytes);
    sent += port.kick();
  }
  const took = performance.now() - from;
  await sleep(SETTLE_MS);
  port.close();
  return { sent, received: receivedOn(device) - before, ms: took };
}

for await (const line of createInterface({ input: process.stdin, terminal: false })) {
  const [device = '', nodeMac = '', vip = '', port = '', ms = ''] = line.split(' ');
  console.log(JSON.stringify(await flood(device, nodeMac, vip, Number(port), Number(ms))));
}

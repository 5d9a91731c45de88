// Test rigs: for each kind of port, a device made for the test, the port, and its outside end. Kernel kinds live in a namespace of the test.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { allocate, Core, planMemory } from '@openclb/core-wasm';
import { limits, PacketRecord, Verdict } from '@openclb/core-wasm/layout';
import { readDevice, setOffloads } from './device.ts';
import { libcCalls, must, setOption, tryOption } from './ffi.ts';
import { createWirePair } from './memory.ts';
import { openPort } from './open.ts';
import { createPcapWriter, readCapture } from './pcapng.ts';
import type { Port, PortKindName, PortOptions } from './port.ts';

export const DEVICE = 'port-a';
export const PEER = 'port-b';
export const TUN_DEVICE = 'port-tun';
export const RIG_CHUNKS = 1024;

export interface Rig {
  readonly core: Core;
  readonly port: Port;
  /** Sends frames from outside towards the port. */
  send(frames: readonly Uint8Array[]): Promise<void>;
  /** Frames that came out of the port, in order. */
  sent(): Promise<Uint8Array[]>;
  /** Frames that were lost before the core could see them. */
  lost(): number;
  close(): void;
}

export type RigOptions = Partial<PortOptions>;

/** One core with room for ports, fresh for each rig; a bench brings its own module. */
export async function openCore(ports = 1, module?: object): Promise<Core> {
  const plan = planMemory({
    flows: 64,
    ports,
    portChunks: RIG_CHUNKS,
    listeners: 16,
    targets: 16,
    groups: 16,
    hosts: 16,
    eips: 16,
    maglevSlots: 1024,
  });
  return Core.open({
    memory: allocate(plan),
    plan,
    worker: 0,
    artefact: 'shared',
    ...(module && { module }),
  });
}

export function roomOf(core: Core, index = 0) {
  const room = core.worker.ports[index];
  if (room === undefined) throw new Error(`no room for port ${index}`);
  return { memory: core.memory, ...room };
}

const ip = (...words: string[]): void => void execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] });

/** A veth pair without IPv6 chatter, up, both offload sets off on the outside end. */
export function makeVeth(a: string, b: string, mtu = 1500): void {
  ip('link', 'add', a, 'type', 'veth', 'peer', 'name', b);
  for (const name of [a, b]) {
    writeFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, '1');
    ip('link', 'set', name, 'mtu', `${mtu}`, 'up');
  }
  setOffloads(b, false);
}

export function removeLink(name: string): void {
  ip('link', 'del', name);
}

export interface RawSocket {
  readonly fd: number;
  send(frame: Uint8Array): boolean;
  receive(): Uint8Array[];
  close(): void;
}

/** A plain packet socket on a device, as the outside end of a kernel port. */
export function openRawSocket(device: string): RawSocket {
  const fd = must('socket AF_PACKET', libcCalls.socket(17, 0o2004003, 0));
  setOption(fd, 263, 23, 1, 'PACKET_IGNORE_OUTGOING');
  // SO_RCVBUFFORCE is root's; SO_RCVBUF gives what everybody may have.
  if (!tryOption(fd, 1, 33, 16 << 20)) tryOption(fd, 1, 8, 16 << 20);
  const address = new DataView(new ArrayBuffer(20));
  address.setUint16(0, 17, true);
  address.setUint16(2, 3, false);
  address.setInt32(4, readDevice(device).index, true);
  must('bind', libcCalls.bind(fd, new Uint8Array(address.buffer), 20));
  const buffer = new Uint8Array(65_536);
  return {
    fd,
    send: (frame) => libcCalls.sendto(fd, frame, frame.length, 0, null, 0) === frame.length,
    receive: () => {
      const frames: Uint8Array[] = [];
      for (;;) {
        const bytes = libcCalls.recv(fd, buffer, buffer.length, 0x40);
        if (bytes < 0) return frames;
        frames.push(buffer.slice(0, bytes));
      }
    },
    close: () => void libcCalls.close(fd),
  };
}

/** Frames of the suites begin like this behind the link header: IPv4 towards 203.0.113.0/24. Everything else is noise. */
export function isOurs(frame: Uint8Array, layer: 2 | 3): boolean {
  const at = layer === 2 ? 14 : 0;
  return frame[at] === 0x45 && frame[at + 16] === 203 && frame[at + 17] === 0 && frame[at + 18] === 113;
}

export const PREFIX = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 0);

export async function openRig(kind: PortKindName, options: RigOptions = {}): Promise<Rig> {
  if (kind === 'memory') return openMemoryRig(options);
  if (kind === 'pcap') return openPcapRig(options);
  return openKernelRig(kind, options);
}

async function openKernelRig(kind: PortKindName, options: RigOptions): Promise<Rig> {
  const core = await openCore();
  const device = kind === 'tun' ? TUN_DEVICE : DEVICE;
  // Router solicitations would come in between the frames of the test.
  writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1');
  const port = await openPort({ kind, index: 0, device, room: roomOf(core), ...options });
  port.steer(PREFIX, 120, 15);
  const outside = openRawSocket(kind === 'tun' ? TUN_DEVICE : PEER);
  const lostBefore = kernelLoss(kind, port);
  return {
    core,
    port,
    send: async (frames) => frames.forEach((frame) => outside.send(frame)),
    sent: async () => outside.receive().filter((frame) => isOurs(frame, port.layer)),
    lost: () => kernelLoss(kind, port) - lostBefore,
    close: () => {
      outside.close();
      port.close();
    },
  };
}

function kernelLoss(kind: PortKindName, port: Port): number {
  if (kind === 'tun') {
    const line = readFileSync('/proc/thread-self/net/dev', 'utf8')
      .split('\n')
      .find((row) => row.includes(`${TUN_DEVICE}:`));
    // Behind the name: 8 receive columns, then bytes, packets, errs, drop of transmission.
    return Number(line?.split(':')[1]?.trim().split(/\s+/)[11] ?? 0);
  }
  const values = port.statistics();
  const names = ['kernelDropped', 'kernelRxDropped', 'kernelRxRingFull'];
  return names.reduce((sum, name) => sum + (values[name] ?? 0), 0);
}

async function openMemoryRig(options: RigOptions): Promise<Rig> {
  const core = await openCore();
  const wires = createWirePair();
  const port = await openPort({
    kind: 'memory',
    index: 0,
    device: 'memory',
    room: roomOf(core),
    wire: wires.a,
    ...options,
  });
  return {
    core,
    port,
    send: async (frames) => frames.forEach((frame) => wires.b.fromCore(frame)),
    sent: async () => wires.b.toCore.splice(0),
    lost: () => port.statistics()['rxNoChunk'] ?? 0,
    close: () => port.close(),
  };
}

/** A file cannot be added to, so each `send` opens the port again on a new input, and `sent` ends the output. */
async function openPcapRig(options: RigOptions): Promise<Rig> {
  const core = await openCore();
  const folder = mkdtempSync(join(tmpdir(), 'openclb-pcap-'));
  const input = join(folder, 'in.pcapng');
  const output = join(folder, 'out.pcapng');
  const open = (): Promise<Port> =>
    openPort({ kind: 'pcap', index: 0, device: 'wire', room: roomOf(core), input, output, ...options });
  const write = (frames: readonly Uint8Array[]): void => {
    const writer = createPcapWriter(input);
    frames.forEach((frame, at) => writer.write('wire', frame, BigInt(at)));
    writer.close();
  };
  write([]);
  let port = await open();
  return {
    core,
    get port() {
      return port;
    },
    send: async (frames) => {
      port.close();
      write(frames);
      port = await open();
    },
    sent: async () => {
      port.close();
      const frames = [...readCapture(readFileSync(output))].map(({ frame }) => new Uint8Array(frame));
      port = await open();
      return frames;
    },
    lost: () => 0,
    close: () => {
      port.close();
      rmSync(folder, { recursive: true });
    },
  };
}

/** The records of the last burst, as the walks see them. */
export function recordOf(core: Core, index: number) {
  const at = core.worker.burst + index * PacketRecord.bytes;
  const { view } = core;
  return {
    address: view.getUint32(at + PacketRecord.at.address, true),
    length: view.getUint32(at + PacketRecord.at.length, true),
    frame: () => {
      const start = core.worker.slab + view.getUint32(at + PacketRecord.at.address, true);
      return core.bytes.slice(start, start + view.getUint32(at + PacketRecord.at.length, true));
    },
    forward: (port: number) => {
      view.setUint8(at + PacketRecord.at.verdict, Verdict.Forward);
      view.setUint8(at + PacketRecord.at.portOut, port);
    },
    drop: () => view.setUint8(at + PacketRecord.at.verdict, Verdict.Drop),
    setLength: (bytes: number) => view.setUint32(at + PacketRecord.at.length, bytes, true),
  };
}

/** One burst: frames in, `each` decides, frames out, chunks back. Returns the frames of the burst. */
export function burst(core: Core, port: Port, each: (record: ReturnType<typeof recordOf>) => void): Uint8Array[] {
  port.fill();
  const count = core.receive(port.index, limits.BURST_MAX);
  const frames: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const record = recordOf(core, i);
    frames.push(record.frame());
    each(record);
  }
  if (core.transmit(count) !== 0) port.kick();
  core.recycle(count);
  return frames;
}

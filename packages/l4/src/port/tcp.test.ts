// Two kernel TCP stacks, each in a namespace of its own, with two ports between them: what one sends is what the other receives.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { limits } from '@openclb/core-wasm/layout';
import { afterAll, describe, expect, test } from 'vitest';
import { inNamespace } from './ffi.ts';
import { setOffloads } from './device.ts';
import { openPort, pollPorts } from './open.ts';
import { Steer } from './port.ts';
import { openCore, recordOf, roomOf } from './rigs.ts';
import { enterNamespace, refusalOf } from './test-namespace.ts';

const namespace = enterNamespace();
afterAll(() => namespace.leave());

const BYTES = 30_000_000;
/** A stack takes its end of the wire along when it ends, some time later: every kind has names of its own. */
const stacksOf = (kind: string) => [
  { here: `${kind}-a`, there: `${kind}-left`, address: '10.9.0.1', mac: '02:00:00:00:09:01' },
  { here: `${kind}-b`, there: `${kind}-right`, address: '10.9.0.2', mac: '02:00:00:00:09:02' },
];
type Stack = ReturnType<typeof stacksOf>[number];
const SEND = `require('net').connect(9000, '10.9.0.2').end(Buffer.alloc(${BYTES}, 'openclb.')).on('close', () => process.exit())`;
const RECEIVE = `
const hash = require('crypto').createHash('sha256');
require('net').createServer((socket) => socket.on('data', (data) => hash.update(data)).on('end', () => {
  process.stdout.write(hash.digest('hex')); process.exit(); })).listen(9000, '10.9.0.2', () => process.stdout.write('ready '));`;

/** A stack waits for its go on standard input, so that its devices are there before it starts. */
function startStack(program: string): ChildProcess {
  const wait = `process.stdin.once('data', () => { process.stdin.unref(); ${program} })`;
  return spawn('unshare', ['-n', process.execPath, '-e', wait], { stdio: ['pipe', 'pipe', 'inherit'] });
}

async function wire(stacks: ChildProcess[], ends: Stack[]): Promise<void> {
  for (const [at, { here, there, address, mac }] of ends.entries()) {
    const pid = stacks[at]?.pid ?? 0;
    const ip = (line: string): void => void execFileSync('ip', line.split(' '));
    ip(`link add ${here} type veth peer name ${there} address ${mac}`);
    // unshare(1) must have got there; its child has the same process id.
    const home = execFileSync('readlink', ['/proc/thread-self/ns/net'], { encoding: 'utf8' });
    while (execFileSync('readlink', [`/proc/${pid}/ns/net`], { encoding: 'utf8' }) === home) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    ip(`link set ${there} netns ${pid}`);
    ip(`link set ${here} up`);
    const other = ends[1 - at];
    inNamespace(`/proc/${pid}/ns/net`, () => {
      ip(`addr add ${address}/24 dev ${there}`);
      ip(`link set ${there} up`);
      ip(`neigh add ${other?.address} lladdr ${other?.mac} dev ${there}`);
      // Segments would not fit a chunk; unfinished checksums are our business and stay on.
      setOffloads(there, false, ['tso', 'gso']);
    });
  }
}

const ADDRESS = (last: number): Uint8Array => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 9, 0, last);

describe.each(['packet', 'xdp'] as const)('port %s', (kind) => {
  test('30 MB of TCP between two kernels arrive unharmed', async (context) => {
    const why = namespace.isInside ? refusalOf(kind) : namespace.why;
    context.skip(why !== null, why ?? '');
    const stacks = [startStack(SEND), startStack(RECEIVE)];
    const ends = stacksOf(kind);
    await wire(stacks, ends);
    const core = await openCore(2);
    const ports = await Promise.all(
      ends.map(({ here }, index) => openPort({ kind, index, device: here, room: roomOf(core, index), steered: true })),
    );
    ports[0]?.steer(ADDRESS(2), 128, Steer.All);
    ports[1]?.steer(ADDRESS(1), 128, Steer.All);
    let output = '';
    stacks[1]?.stdout?.on('data', (data: Buffer) => {
      output += data.toString();
      if (output === 'ready ') stacks[0]?.stdin?.write('go');
    });
    const receiver = { isOver: false };
    stacks[1]?.on('close', () => (receiver.isOver = true));
    stacks[1]?.stdin?.write('go');
    const end = performance.now() + 20_000;
    while (!receiver.isOver && performance.now() < end) {
      pollPorts(ports, 1);
      for (const port of ports) {
        port.fill();
        const count = core.receive(port.index, limits.BURST_MAX);
        for (let i = 0; i < count; i++) recordOf(core, i).forward(1 - port.index);
        if (core.transmit(count) !== 0) ports[1 - port.index]?.kick();
        core.recycle(count);
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const stack of stacks) stack.kill();
    expect(output).toBe(`ready ${createHash('sha256').update(Buffer.alloc(BYTES, 'openclb.')).digest('hex')}`);
    expect(ports[0]?.statistics()['rxCompleted']).toBeGreaterThan(1000);
    for (const port of ports) port.close();
  });
});

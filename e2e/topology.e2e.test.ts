// The ground that the other files stand on, proven with kernels alone: the switch hashes flows to two next hops, captures see both
// directions, checksums are real, and a run that crashed is removed without touching anybody else's processes.
import { spawn } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startAgent, startServer, vmAnswer } from '../apps/demo/src/agent.ts';
import type { Agent } from '../apps/demo/src/agent.ts';
import { CLIENT, NODES, bringUpTopology } from '../apps/demo/src/topology.ts';
import {
  checksumFault,
  hasTshark,
  ipIn,
  isAlive,
  noteOf,
  removeNetwork,
  removeRun,
  startCapture,
  tsharkBadChecksums,
} from '../tools/testkit/index.ts';
import { waitReady } from '../tools/testkit/index.ts';
import type { Network } from '../tools/testkit/index.ts';
import { inNamespaces } from './suite.ts';

const SHARED = '203.0.113.77';

await inNamespaces(import.meta.filename, () => {
  let network: Network;
  let client: Agent;

  beforeAll(async () => {
    network = bringUpTopology({ label: 'topo' });
    const servers = ['px1', 'px2'].map((name) => startServer(network, name));
    [client] = await Promise.all([startAgent(network, 'client'), ...servers.map((server) => waitReady(server))]);
  });
  afterAll(() => removeNetwork(network));

  test('client and node reach each other over both families, and the node sees the client', async () => {
    for (const [address, own] of [
      [NODES.px1.v4, CLIENT.v4],
      [NODES.px1.v6, CLIENT.v6],
    ] as const) {
      expect(vmAnswer(await client.get(address, { port: 8080 }))).toMatchObject({
        name: 'px1',
        peer: own,
        local: address,
      });
    }
  });

  test('the switch spreads connections of one client over two next hops, each connection whole', async () => {
    for (const name of ['px1', 'px2']) ipIn(network, name, [`addr add ${SHARED}/32 dev lo`]);
    ipIn(network, 'switch', [`route add ${SHARED} nexthop via ${NODES.px1.v4} nexthop via ${NODES.px2.v4}`]);
    const outcomes = await client.run(
      Array.from({ length: 300 }, () => ({ kind: 'http' as const, address: SHARED, port: 8080 })),
    );
    const names = outcomes.map((outcome) => vmAnswer(outcome)?.name ?? outcome.error);
    const share = names.filter((name) => name === 'px1').length / names.length;
    expect(names.every((name) => name === 'px1' || name === 'px2')).toBe(true);
    expect(share).toBeGreaterThan(0.3);
    expect(share).toBeLessThan(0.7);
  });

  test('a capture sees both directions, and every checksum in it is real', async (context) => {
    const capture = startCapture(network, 'switch', 'px1', 'checksums');
    expect((await client.get(NODES.px1.v4, { port: 8080, path: '/bytes/1000000' })).bodyBytes).toBe(1_000_000);
    expect(vmAnswer(await client.get(NODES.px1.v4, { port: 8080, bodyBytes: 1_000_000 }))?.bodyBytes).toBe(1_000_000);
    const frames = capture.stop();
    const packets = frames.flatMap(({ frame }) => (frame.ip ? [frame.ip] : []));
    expect(packets.some(({ source }) => source === CLIENT.v4)).toBe(true);
    expect(packets.some(({ source }) => source === NODES.px1.v4)).toBe(true);
    expect(packets.map(checksumFault).filter((fault) => fault !== undefined)).toEqual([]);
    context.skip(!hasTshark(), 'the second opinion needs tshark: apt-get install tshark');
    expect(tsharkBadChecksums(capture.file)).toEqual([]);
  });

  test('what a crashed run has left is removed, and a process that only bears a noted number is left alone', async () => {
    const other = bringUpTopology({ label: 'dead' });
    const server = startServer(other, 'px1');
    await waitReady(server);
    const stranger = spawn('sleep', ['60']);
    const note = noteOf(stranger.pid ?? 0, 'stranger');
    other.state.processes.push({ ...note, startTime: '1' });
    const { processes, namespaces } = removeRun(other.state);
    expect({ processes, namespaces }).toEqual({ processes: 1, namespaces: other.state.namespaces.length });
    expect(isAlive(note)).toBe(true);
    stranger.kill();
  });
});

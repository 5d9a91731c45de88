// What BIRD is told, judged by BIRD itself, and the client of its control socket against a scripted other end.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type Server, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DirectorImage } from '@openclb/model';
import { afterAll, expect, test } from 'vitest';
import { BIRD_FILES, announcedSet, birdConfig, routeLines } from './config.ts';
import { connectBird } from './control.ts';

const directory = mkdtempSync(join(tmpdir(), 'openclb-bird-'));
const servers: Server[] = [];
afterAll(() => {
  for (const server of servers) server.close();
  rmSync(directory, { recursive: true, force: true });
});

const image = {
  self: { id: 'ld1', ordinal: 1, underlay: { v4: '10.255.0.1' } },
  tunnels: [
    { node: 'ld1', worker: 0, v4: '10.254.1.1', v6: 'fd00::1' },
    { node: 'ld2', worker: 0, v4: '10.254.2.1' },
  ],
  anycast: { v4: '10.254.0.1' },
  probe: { v4: '100.64.16.1' },
  vips: [
    { net: 0, address: '203.0.113.10' },
    { net: 0, address: '203.0.113.11' },
    { net: 0, address: '203.0.113.12' },
    { net: 100, address: '10.0.0.100' },
  ],
  listeners: [
    { net: 0, vip: '203.0.113.10', group: 'full' },
    { net: 0, vip: '203.0.113.11', group: 'empty' },
    { net: 100, vip: '10.0.0.100', group: 'full' },
  ],
  groups: [
    { id: 'full', targets: [{ target: 't', weight: 0 }] },
    { id: 'empty', targets: [] },
  ],
  eips: [{ eip: '203.0.113.100' }],
} as unknown as DirectorImage;

test('a VIP is announced when a listener of it has targets; internal VIPs never', () => {
  const { service } = announcedSet(image);
  expect(service.map(({ address }) => address)).toEqual(['203.0.113.10', '203.0.113.100', '10.254.0.1']);
});

test("own tunnel addresses are first hand, the others' are a backup", () => {
  expect(announcedSet(image).tunnels).toEqual([
    { address: '10.254.1.1', isBackup: false },
    { address: 'fd00::1', isBackup: false },
    { address: '10.254.2.1', isBackup: true },
    { address: '100.64.16.1', isBackup: false },
  ]);
});

test('BIRD takes the configuration with BGP over both families, OSPF and BFD', (context) => {
  const bird = spawnSync('/usr/sbin/bird', ['--version']);
  context.skip(bird.error !== undefined, 'BIRD judges its own configuration: apt-get install bird2');
  const { service, tunnels } = announcedSet(image);
  for (const family of [4, 6] as const) {
    writeFileSync(join(directory, BIRD_FILES.service[family]), routeLines(service, family));
    writeFileSync(join(directory, BIRD_FILES.tunnels[family]), routeLines(tunnels, family));
  }
  const peers = [
    { address: '10.255.0.0', as: 65000 },
    { address: 'fd00:255::1', as: 65000 },
  ];
  const options = { bgp: { as: 65001, peers }, ospf: ['eth0', 'eth1'], bfd: true };
  for (const own of [{ v4: '10.255.0.1', v6: 'fd00:255::2' }, { v6: 'fd00:255::2' }]) {
    const config = join(directory, BIRD_FILES.config);
    writeFileSync(config, birdConfig(options, own, 300, directory));
    const { status, stderr } = spawnSync('/usr/sbin/bird', ['-p', '-c', config], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  }
});

/** A BIRD that says what it is told to, in pieces that do not keep to lines. */
async function scripted(answers: Readonly<Record<string, string>>): Promise<string> {
  const path = join(directory, `ctl-${servers.length}`);
  const server = createServer((socket) => {
    socket.write('0001 BIRD 2.0.12 rea');
    socket.write('dy.\n');
    socket.on('data', (data) => socket.write(answers[data.toString().trim()] ?? ''));
  });
  servers.push(server);
  await new Promise<void>((done) => server.listen(path, done));
  return path;
}

test('an answer of several lines comes whole, and a refusal is an error in the words of BIRD', async () => {
  const control = await connectBird(
    await scripted({
      'show protocols': '2002-Name Proto\n1002-clb_bgp0 BGP\n clb_bgp1 BGP\n0000 \n',
      configure: '0002-Reading configuration from x\n8002 x:3:1 syntax error\n',
    }),
  );
  expect(await control.command('show protocols')).toEqual(['Name Proto', 'clb_bgp0 BGP', 'clb_bgp1 BGP']);
  await expect(control.command('configure')).rejects.toThrow('x:3:1 syntax error');
  control.close();
});

test('a BIRD that does not answer is an error within the time given', async () => {
  const control = await connectBird(await scripted({}), 200);
  await expect(control.command('show protocols')).rejects.toThrow('does not answer');
});

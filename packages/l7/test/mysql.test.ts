// Relays that understand MySQL, against real servers and the command-line client of MariaDB: health, PROXY protocol, routing.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import type { MysqlRouter, ProxyImage } from '@openclb/model';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { createProxy, probe, type ProxyOptions } from '../src/index.ts';
import { type ConnectionRecord } from '../src/index.ts';
import { readGreeting, readLogin, readPacket } from '../src/relay/mysql/wire.ts';
import { imageOf, stableId } from '../src/simple.ts';
import { connect, origin } from './kit.ts';
import { type MariaDb, type MariaDbs, startMariaDbs } from './mariadb.ts';

let dbs: MariaDbs;
let first: MariaDb;
let second: MariaDb;
beforeAll(async () => {
  dbs = await startMariaDbs(2, ['--max-connect-errors=2', '--proxy-protocol-networks=127.0.0.1']);
  [first, second] = dbs.servers as unknown as [MariaDb, MariaDb];
  for (const { sql } of dbs.servers) {
    sql(`create database shop; create database archive;
      create user alice@'%' identified by 'secret'; create user bob@'%' identified by ''; grant all on *.* to alice@'%', bob@'%'`);
  }
}, 30_000);
afterAll(() => dbs?.stop());

const CHECK = {
  type: 'mysql',
  intervalMs: 100,
  timeoutMs: 1000,
  healthyThreshold: 1,
  unhealthyThreshold: 1,
} as const;

type Relay = NonNullable<ProxyImage['listeners'][number]['relay']>;

/** A relay listener to the first server; the second is the group `lbtg-archive`. */
async function image(relay: Relay): Promise<ProxyImage> {
  const [url, other] = dbs.servers.map(({ port }) => `http://127.0.0.1:${port}`);
  const made = await imageOf({
    listen: { host: '127.0.0.1', port: 0 },
    routes: [{ targets: [url!] }, { targets: [other!] }],
  });
  const [listener] = made.listeners;
  const row = { ...listener!, protocol: 'tcp' as const, rules: [], group: stableId('route-1'), relay };
  const mysqlGroups = [{ name: 'lbtg-archive', group: stableId('route-2') }];
  return { ...made, listeners: [relay.mysql === undefined ? row : { ...row, mysqlGroups }] };
}

async function relay(relay: Relay, options: ProxyOptions = {}) {
  const proxy = await createProxy({ bind: 'vips', readyHost: '127.0.0.1', ...options });
  onTestFinished(() => proxy.close());
  await proxy.apply(await image(relay));
  return { proxy, port: proxy.addresses()[0]!.port };
}

interface Answer {
  readonly out: string;
  readonly error: string;
}

/** The client of MariaDB, over TCP and without TLS unless told otherwise. */
function mariadb(port: number, args: readonly string[], statement = 'select @@port, current_user()'): Promise<Answer> {
  const words = ['--no-defaults', '-h127.0.0.1', `-P${port}`, '--connect-timeout=5', '-N', '-B', ...args];
  return new Promise((resolve) =>
    execFile('mariadb', [...words, '-e', statement], { maxBuffer: 8_000_000 }, (_error, out, error) =>
      resolve({ out: out.trim(), error: error.trim() }),
    ),
  );
}

function codeOf(act: () => unknown): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

const ROUTED: Relay = { mysql: { targetGroups: ['lbtg-archive'] } };
const router: MysqlRouter = {
  name: 'by schema',
  route: ({ schema, user }) => {
    if (user === 'thrower') throw new Error('a broken plugin');
    if (user === 'nowhere') return 'lbtg-nowhere';
    return schema === 'archive' || user === 'bob' ? 'lbtg-archive' : undefined;
  },
};

describe('MySQL health', () => {
  // Servers keep no account of 127.0.0.1, but they do of its neighbour.
  const source = '127.0.0.2';
  const identity = (port: number) => ({ id: '', name: '', address: '127.0.0.1', port, source });

  test('is a login that leaves no trace in max_connect_errors', async () => {
    for (let index = 0; index < 8; index++) {
      expect(await probe(identity(first.port), CHECK)).toMatchObject({ isGood: true });
    }
    expect(await probe(identity(first.port), { ...CHECK, mysql: { user: 'bob' } })).toMatchObject({ isGood: true });
    // A client that leaves in the middle is counted; three of them lock out, and the probe says so with the server's words.
    for (let index = 0; index < 3; index++) {
      const socket = net.connect({ host: '127.0.0.1', port: second.port, localAddress: source });
      await once(socket, 'data');
      socket.end();
      await once(socket, 'close');
    }
    expect(await probe(identity(second.port), CHECK)).toMatchObject({ isGood: false, reason: /error 1129: .*blocked/ });
    second.sql('flush hosts');
    expect(await probe(identity(second.port), CHECK)).toMatchObject({ isGood: true });
  });

  test('is bad where something else listens, or nothing', async () => {
    const web = await origin();
    web.connection().then(
      (peer) => peer.write('HTTP/1.1 400 Bad Request\r\n\r\n'),
      () => {},
    );
    expect(await probe(identity(web.port), CHECK)).toMatchObject({ isGood: false });
    await web.close();
    expect(await probe(identity(web.port), CHECK)).toMatchObject({ isGood: false, reason: 'ECONNREFUSED' });
  });
});

describe('a MySQL relay', () => {
  test('passes bytes, with PROXY v2 the address of the client, and says who was connected', async () => {
    const records: ConnectionRecord[] = [];
    const { port } = await relay({ proxyProtocol: 'v2' }, { connectionLog: (record) => void records.push(record) });
    const local = { host: '127.0.0.1', port };
    const { out } = await mariadb(port, ['-ualice', '-psecret'], 'select @@port, user()');
    expect(out).toMatch(new RegExp(`^${first.port}\\talice@`));
    // The proxy sees the end of the connection a moment after the client has ended.
    for (let left = 100; left > 0 && records.length === 0; left--)
      await new Promise((resolve) => setTimeout(resolve, 20));
    expect(records).toMatchObject([{ upstreamAddress: `127.0.0.1:${first.port}`, protocol: 'tcp', failure: '' }]);
    expect(records[0]!.bytesIn).toBeGreaterThan(50);
    // The port that the server knows is the client's own, which only the header can tell.
    const held = net.connect(local);
    onTestFinished(() => void held.destroy());
    const peer = await new Promise<number>((resolve) => held.once('connect', () => resolve(held.localPort ?? 0)));
    for (let left = 100; left > 0; left--) {
      const hosts = first.sql('select host from information_schema.processlist');
      if (hosts.includes(`:${peer}`)) return;
      held.write(Buffer.from([0]));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error('the server never learnt the port of the client');
  });

  test('routes logins by user and schema, with the password checked by the server that it goes to', async () => {
    const { port, proxy } = await relay(ROUTED, { mysqlRouters: [router] });
    const answers = await Promise.all([
      mariadb(port, ['-ualice', '-psecret', 'shop']),
      mariadb(port, ['-ualice', '-psecret', 'archive'], 'select @@port, database()'),
      mariadb(port, ['-ubob'], 'select @@port, current_user()'),
      mariadb(port, ['-ualice', '-pwrong', 'archive']),
      mariadb(port, ['-ualice', '-psecret', 'missing']),
      mariadb(port, ['-unowhere', '-px']),
      mariadb(port, ['-uthrower', '-px']),
    ]);
    expect(answers.slice(0, 3).map(({ out }) => out)).toEqual([
      `${first.port}\talice@%`,
      `${second.port}\tarchive`,
      `${second.port}\tbob@%`,
    ]);
    const errors = answers.slice(3).map(({ error }) => error);
    expect(errors[0]).toMatch(/1045.*Access denied for user 'alice'/);
    expect(errors[1]).toMatch(/1049.*Unknown database 'missing'/);
    expect(errors[2]).toMatch(/1105.*no target group lbtg-nowhere/);
    expect(errors[3]).toMatch(/1105.*cannot be told/);
    expect(proxy.counters().failures).toMatchObject({ 'mysql-route-unknown': 1, 'mysql-router-error': 1 });
    // Nothing of this was a broken login to the servers.
    expect((await mariadb(port, ['-ualice', '-psecret'])).out).toContain(String(first.port));
  });

  test('serves accounts of other authentication plugins and large results', async () => {
    first.sql(`install soname 'auth_ed25519'; create user carol@'%' identified via ed25519 using password('other')`);
    const { port } = await relay(ROUTED, { mysqlRouters: [router] });
    expect((await mariadb(port, ['-ucarol', '-pother'])).out).toBe(`${first.port}\tcarol@%`);
    const { out } = await mariadb(port, ['-ualice', '-psecret'], "select repeat('x', 3000000)");
    expect(out).toHaveLength(3_000_000);
  });

  test('refuses TLS inside of MySQL where it routes, and garbage, in the protocol of the client', async () => {
    const { port, proxy } = await relay(ROUTED, { mysqlRouters: [router] });
    expect((await mariadb(port, ['-ualice', '-psecret', '--ssl', '--ssl-verify-server-cert'])).error).toMatch(
      /SSL|TLS/,
    );
    const raw = await connect(port);
    await raw.has('mysql_native_password');
    raw.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0]));
    await raw.has('protocol 4.0');
    await raw.ended();
    expect(proxy.counters().failures['mysql-malformed']).toBe(1);
  });

  test('answers with an error of MySQL when no server is there', async () => {
    const { port, proxy } = await relay(ROUTED);
    const broken = await image(ROUTED);
    for (const target of broken.targets) (target as { port: number }).port = 1;
    broken.listeners[0]!.port = 0;
    await proxy.apply({ ...broken, generation: { revision: 2, compiler: 1 } });
    expect((await mariadb(port, ['-ualice', '-psecret'])).error).toMatch(/no server can be reached/);
    expect(proxy.counters().failures['no-target']).toBe(1);
  });

  test('reads no packet beyond its end', async () => {
    const peer = await connect(first.port);
    await peer.has('mysql_native_password');
    const { payload } = readPacket(Buffer.from(peer.text, 'latin1'))!;
    expect(readGreeting(payload).version).toMatch(/MariaDB/);
    // A quiet end, so that the server counts no error.
    peer.socket.destroy();
    first.sql('flush hosts');
    for (let length = 0; length < 60; length++) {
      expect(() => readGreeting(payload.subarray(0, Math.min(length, 20)))).toThrow(/packet|greeting|text/);
    }
    for (let round = 0; round < 500; round++) {
      const bytes = Buffer.from(Array.from({ length: round % 90 }, () => Math.floor(Math.random() * 256)));
      if (bytes.length > 1) bytes[1] = (bytes[1] ?? 0) | 2;
      expect([undefined, 'MysqlMalformed']).toContain(codeOf(() => readLogin(bytes)));
    }
  });
});

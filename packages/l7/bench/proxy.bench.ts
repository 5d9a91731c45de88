// Requests per second of the proxy against nginx and against a relay that parses nothing: one core for the proxy, 64 keep-alive
// connections, rounds that alternate in one run. Both add the same headers; both configurations are printed.
import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { Bench, cpuMicroseconds, freePort, hasCommand, load } from './processes.ts';

export interface Row {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  readonly ratio?: number;
  readonly peer?: string;
  readonly note?: string;
}

const CONNECTIONS = 64;
const SECONDS = 2;
const ROUNDS = 4;
const PROXY_CORE = 0;
const OTHER_CORE = 1;

const nginxUpstream = (port: number): string => `
daemon off; worker_processes 1; pid FOLDER/upstream.pid;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; client_body_temp_path FOLDER/b; proxy_temp_path FOLDER/p; fastcgi_temp_path FOLDER/f; uwsgi_temp_path FOLDER/u; scgi_temp_path FOLDER/s;
  server { listen 127.0.0.1:${port} reuseport backlog=4096;
    location /large { root FOLDER; }
    location / { default_type text/plain; return 200 "hello, world\\n"; } } }
`;

const nginxProxy = (port: number, target: number, log: string): string => `
daemon off; worker_processes 1; pid FOLDER/proxy-${port}.pid;
events { worker_connections 4096; }
http { access_log ${log}; keepalive_requests 1000000000; client_body_temp_path FOLDER/b2; proxy_temp_path FOLDER/p2; fastcgi_temp_path FOLDER/f2; uwsgi_temp_path FOLDER/u2; scgi_temp_path FOLDER/s2;
  upstream target { server 127.0.0.1:${target}; keepalive 256; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:${port} backlog=4096;
    location / {
      proxy_pass http://target; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Client-Proto $scheme;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } } }
`;

interface Peer {
  readonly name: string;
  readonly port: number;
  readonly child: ChildProcess;
}

interface Result {
  /** Requests per second, mean of the rounds. */
  rate: number;
  /** Processor time of the proxy for one request. */
  cpuUs: number;
}

/** Means of rounds that alternate, so that a busy moment of the machine hits all alike. */
async function compare(peers: readonly Peer[], path: string): Promise<Map<string, Result>> {
  const results = new Map<string, Result>();
  for (const { port } of peers) await load(`http://127.0.0.1:${port}${path}`, CONNECTIONS, 1);
  for (let round = 0; round < ROUNDS; round++) {
    const order = round % 2 === 0 ? peers : [...peers].reverse();
    for (const { name, port, child } of order) {
      const before = cpuMicroseconds(child);
      const rate = await load(`http://127.0.0.1:${port}${path}`, CONNECTIONS, SECONDS);
      const result = results.get(name) ?? { rate: 0, cpuUs: 0 };
      result.rate += rate / ROUNDS;
      result.cpuUs += (cpuMicroseconds(child) - before) / (rate * SECONDS) / ROUNDS;
      results.set(name, result);
    }
  }
  return results;
}

function rowsOf(what: string, results: ReadonlyMap<string, Result>): Row[] {
  const own = results.get('proxy')!;
  const rows: Row[] = [];
  for (const [name, { rate, cpuUs }] of results) {
    if (name === 'proxy') continue;
    const note = `processor time a request ${own.cpuUs.toFixed(1)} : ${cpuUs.toFixed(1)} µs = ${(own.cpuUs / cpuUs).toFixed(2)}`;
    rows.push({
      what,
      value: own.rate,
      unit: 'requests/s',
      ratio: own.rate / rate,
      peer: `${name} ${Math.round(rate)}`,
      note,
    });
  }
  return rows.length > 0 ? rows : [{ what, value: own.rate, unit: 'requests/s', note: 'nginx is not installed' }];
}

export async function run(): Promise<Row[]> {
  const bench = new Bench();
  const hasNginx = hasCommand('nginx');
  try {
    const [target, plain, logged, relay, peer, peerLogged] = (await Promise.all(
      Array.from({ length: 6 }, freePort),
    )) as [...[number, number, number, number, number, number]];
    const nginx: Peer[] = [];
    const nginxLogged: Peer[] = [];
    if (hasNginx) {
      writeFileSync(`${bench.folder}/large`, 'x'.repeat(100 * 1024));
      const log = 'FOLDER/nginx.log combined buffer=64k flush=1s';
      await bench.nginx(OTHER_CORE, 'upstream', nginxUpstream(target), target);
      nginx.push({
        name: 'nginx',
        port: peer,
        child: await bench.nginx(PROXY_CORE, 'proxy', nginxProxy(peer, target, 'off'), peer),
      });
      const child = await bench.nginx(PROXY_CORE, 'logged', nginxProxy(peerLogged, target, log), peerLogged);
      nginxLogged.push({ name: 'nginx', port: peerLogged, child });
      console.log(`nginx as peer:\n${nginxProxy(peer, target, 'off')}`);
    } else await bench.node(OTHER_CORE, 'upstream.ts', [String(target)], target);
    console.log('the proxy: createProxy({ listen, targets: [one] }), see bench/proxy.ts\n');
    const relayChild = await bench.node(PROXY_CORE, 'relay.ts', [String(relay), String(target)], relay);
    const own = await bench.node(PROXY_CORE, 'proxy.ts', [String(plain), String(target)], plain);
    const ownLogged = await bench.node(
      PROXY_CORE,
      'proxy.ts',
      [String(logged), String(target), `${bench.folder}/own.log`],
      logged,
    );
    const small = [
      { name: 'proxy', port: plain, child: own },
      ...nginx,
      { name: 'relay', port: relay, child: relayChild },
    ];
    const withLog = [{ name: 'proxy', port: logged, child: ownLogged }, ...nginxLogged];
    const rows = rowsOf('GET, 13-byte response, no log', await compare(small, '/'));
    rows.push(...rowsOf('GET, 13-byte response, access log', await compare(withLog, '/')));
    rows.push(...rowsOf('GET, 100 KiB response, no log', await compare(small, '/large')));
    return rows;
  } finally {
    bench.close();
  }
}

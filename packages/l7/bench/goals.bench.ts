// The other goals of the proxy beside plain HTTP/1.1: TLS, HTTP/2 in front, latency under load, memory of idle connections and of
// WebSockets, routing. Peers take turns in rounds; the proxy's process has one core.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { RouteTable } from '../src/routes.ts';
import { Bench, cpuMicroseconds, freePort, hasCommand, pinned } from './processes.ts';
import type { Row } from './proxy.bench.ts';

const ROUNDS = 3;
const SECONDS = 2;
const OTHER_CORE = 1;
const PROXY_CORE = 0;
/** As many as the limit of open files leaves room for; what they cost is told for 10,000. */
const HELD_MAX = 10_000;

const nginx = (name: string, servers: string): string => `
daemon off; worker_processes 1; pid FOLDER/${name}.pid;
events { worker_connections 16384; }
http { access_log off; keepalive_requests 1000000000; client_body_temp_path FOLDER/${name}b; proxy_temp_path FOLDER/${name}p; fastcgi_temp_path FOLDER/${name}f; uwsgi_temp_path FOLDER/${name}u; scgi_temp_path FOLDER/${name}s;
${servers} }
`;

const upstreamConfig = (port: number): string =>
  nginx(
    'upstream',
    `server { listen 127.0.0.1:${port} reuseport backlog=4096; location / { default_type text/plain; return 200 "hello, world\\n"; } }`,
  );

const LOCATION = `location / {
      proxy_pass http://target; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Client-Proto $scheme;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }`;

/** Plain, TLS 1.3 without resumption, and HTTP/2 by prior knowledge. */
const peerConfig = (target: number, plain: number, secure: number, http2: number): string =>
  nginx(
    'peer',
    `  upstream target { server 127.0.0.1:${target}; keepalive 256; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:${plain} backlog=4096; ${LOCATION} }
  server { listen 127.0.0.1:${secure} ssl backlog=4096; ssl_certificate FOLDER/c.pem; ssl_certificate_key FOLDER/k.pem;
    ssl_protocols TLSv1.3; ssl_session_cache off; ${LOCATION} }
  server { listen 127.0.0.1:${http2} http2 backlog=4096; http2_max_concurrent_streams 128; ${LOCATION} }`,
  );

interface Contestant {
  readonly name: string;
  readonly child: ChildProcess;
  readonly plain: number;
  readonly secure: number;
  readonly http2: number;
}

/** Runs a load generator and answers its output. */
function output(command: string, args: readonly string[], seconds: number): Promise<string> {
  const [file, list] = pinned(OTHER_CORE, command, args);
  const child = spawn(file, list, { stdio: ['ignore', 'pipe', 'inherit'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), (seconds + 20) * 1000);
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return new Promise((resolve) => child.once('close', () => (clearTimeout(timer), resolve(text))));
}

const wrk = async (url: string, ...more: string[]): Promise<number> => {
  const text = await output('wrk', ['-t1', '-c64', `-d${SECONDS}s`, ...more, url], SECONDS);
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1] ?? Number.NaN);
};

const h2load = async (url: string): Promise<number> => {
  const text = await output('h2load', ['-c', '8', '-m', '16', '-t', '1', '-D', String(SECONDS), url], SECONDS);
  return Number(/finished in [^,]+, ([\d.]+) req\/s/.exec(text)?.[1] ?? Number.NaN);
};

/** Rates of rounds that alternate, with the processor time of each contestant for one request. */
async function race(
  contestants: readonly Contestant[],
  unit: string,
  what: string,
  run: (contestant: Contestant) => Promise<number>,
): Promise<{ row: Row; rates: Map<string, number> }> {
  const sums = new Map(contestants.map(({ name }) => [name, { rate: 0, cpuUs: 0 }]));
  for (let round = 0; round <= ROUNDS; round++) {
    for (const contestant of round % 2 === 0 ? contestants : [...contestants].reverse()) {
      const before = cpuMicroseconds(contestant.child);
      const rate = await run(contestant);
      // The first round warms up.
      if (round === 0) continue;
      const sum = sums.get(contestant.name)!;
      sum.rate += rate / ROUNDS;
      sum.cpuUs += (cpuMicroseconds(contestant.child) - before) / (rate * SECONDS) / ROUNDS;
    }
  }
  const [own, peer] = [sums.get('proxy')!, sums.get('nginx')!];
  const note = `processor time each ${own.cpuUs.toFixed(1)} : ${peer.cpuUs.toFixed(1)} µs = ${(own.cpuUs / peer.cpuUs).toFixed(2)}`;
  const row = {
    what,
    value: own.rate,
    unit,
    ratio: own.rate / peer.rate,
    peer: `nginx ${Math.round(peer.rate)}`,
    note,
  };
  return { row, rates: new Map([...sums].map(([name, { rate }]) => [name, rate])) };
}

/** p99 of what a client sees at one and the same rate, in microseconds. */
async function latency(contestants: readonly Contestant[], rate: number, folder: string): Promise<Row> {
  const p99 = new Map<string, number[]>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const { name, plain } of round % 2 === 0 ? contestants : [...contestants].reverse()) {
      const log = join(folder, `latency-${name}-${round}`);
      const perClient = Math.max(1, Math.round(rate / 64));
      const args = [
        '--h1',
        '-c',
        '64',
        '-t',
        '1',
        '-D',
        String(SECONDS),
        '--rps',
        String(perClient),
        `--log-file=${log}`,
      ];
      await output('h2load', [...args, `http://127.0.0.1:${plain}/`], SECONDS);
      if (!existsSync(log)) continue;
      const times = readFileSync(log, 'utf8')
        .split('\n')
        .map((line) => Number(line.split('\t')[2]))
        .filter((time) => time > 0)
        .sort((a, b) => a - b);
      p99.set(name, [...(p99.get(name) ?? []), times[Math.floor(times.length * 0.99)] ?? Number.NaN]);
      rmSync(log);
    }
  }
  const middle = (name: string): number => (p99.get(name) ?? []).sort((a, b) => a - b)[1] ?? Number.NaN;
  const [own, peer] = [middle('proxy'), middle('nginx')];
  return {
    what: 'p99 at 70 % of the slower one’s rate',
    value: own,
    unit: 'µs',
    ratio: own / peer,
    peer: `nginx ${Math.round(peer)}`,
    note: `${Math.round(rate)} requests/s, median of ${ROUNDS} rounds; below 1 is better`,
  };
}

const rssBytes = (child: ChildProcess): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))![1]) * 1024;

const filesMax = (): number =>
  Number(/Max open files\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 1024);

const PAGE_BYTES = 4096;
/** What sockets hold in the kernel, the whole machine. */
const kernelBytes = (): number =>
  Number(/TCP:.* mem (\d+)/.exec(readFileSync('/proc/net/sockstat', 'utf8'))?.[1] ?? 0) * PAGE_BYTES;

/** Growth of the proxy's memory over held connections, after a forced collection. */
async function held(bench: Bench, kind: 'idle' | 'websocket', target: number): Promise<Row> {
  const port = await freePort();
  process.execArgv.push('--expose-gc');
  const proxy = await bench.node(PROXY_CORE, 'proxy.ts', [String(port), String(target)], port);
  process.execArgv.pop();
  const settle = async (): Promise<number> => {
    for (let turn = 0; turn < 3; turn++) {
      proxy.kill('SIGUSR2');
      await new Promise((resolve) => setTimeout(resolve, 400));
    }
    return rssBytes(proxy);
  };
  // Code and pools that a few connections bring are not what one more costs.
  const warm = await hold(kind, port, 500);
  warm.kill();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const before = await settle();
  const count = Math.min(HELD_MAX, Math.floor((filesMax() - 1_000) / (kind === 'idle' ? 1 : 2)));
  const kernel = kernelBytes();
  const holder = await hold(kind, port, count);
  const each = ((await settle()) - before) / count;
  const inKernel = (kernelBytes() - kernel) / count;
  holder.kill();
  const note = `${count} held; TCP memory of the kernel ${(inKernel / 1024).toFixed(1)} KiB each, all ends on this machine`;
  return kind === 'idle'
    ? { what: 'idle client connection after one request', value: each / 1024, unit: 'KiB', note: `goal 8; ${note}` }
    : {
        what: '10,000 open WebSockets',
        value: (each * 10_000) / 1024 / 1024,
        unit: 'MiB',
        note: `goal 250; two sockets each; ${note}`,
      };
}

function hold(kind: string, port: number, count: number): Promise<ChildProcess> {
  const script = new URL('hold.ts', import.meta.url).pathname;
  const [file, args] = pinned(OTHER_CORE, process.execPath, [script, kind, String(port), String(count)]);
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  return new Promise((resolve, reject) => {
    child.stdout!.once('data', () => resolve(child));
    child.once('exit', (code) => reject(new Error(`the holder ended with ${code}`)));
  });
}

/** One look-up in a table of 10,000 rules under 1,000 domains, as a request does it. */
function routing(): Row {
  const rules = Array.from({ length: 10_000 }, (_, index) => ({
    domain: `d${index % 1000}.example.com`,
    path: `/api/v${index}/`,
    isDefault: false,
  }));
  const table = new RouteTable(rules);
  const asked = rules.map(({ domain, path }) => [domain, `${path}items?id=1`] as const);
  let best = Infinity;
  for (let round = 0; round < 40; round++) {
    const startedAt = performance.now();
    for (const [host, target] of asked) if (table.find(host, target) === null) throw new Error('no rule');
    best = Math.min(best, performance.now() - startedAt);
  }
  return {
    what: 'routing among 10,000 rules',
    value: (best * 1000) / asked.length,
    unit: 'µs',
    note: 'goal 2; best of 40 rounds',
  };
}

export async function run(): Promise<Row[]> {
  if (!['nginx', 'wrk', 'h2load', 'openssl'].every(hasCommand))
    return [
      routing(),
      {
        what: 'TLS, HTTP/2, latency, memory',
        value: Number.NaN,
        unit: '',
        note: 'needs nginx, wrk, h2load and openssl',
      },
    ];
  const bench = new Bench();
  try {
    const [target, plain, secure, http2, own, ownSecure, upgrader] = (await Promise.all(
      Array.from({ length: 7 }, freePort),
    )) as [number, number, number, number, number, number, number];
    const [key, certificate] = [join(bench.folder, 'k.pem'), join(bench.folder, 'c.pem')];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    execFileSync(
      'openssl',
      ['req', '-x509', ...curve, '-nodes', '-days', '9', '-subj', '/CN=a.test', '-keyout', key, '-out', certificate],
      { stdio: 'ignore' },
    );
    await bench.nginx(OTHER_CORE, 'upstream', upstreamConfig(target), target);
    const config = peerConfig(target, plain, secure, http2);
    console.log(`nginx as peer:\n${config}\nthe proxy: createProxy({ listen, targets: [one] }), see bench/proxy.ts\n`);
    const peer = await bench.nginx(PROXY_CORE, 'peer', config, plain);
    const open = await bench.node(PROXY_CORE, 'proxy.ts', [String(own), String(target)], own);
    const tls = await bench.node(
      PROXY_CORE,
      'proxy.ts',
      [String(ownSecure), String(target), '', certificate, key],
      ownSecure,
    );
    const nginxPeer = { name: 'nginx', child: peer, plain, secure, http2 };
    const contestants = [{ name: 'proxy', child: open, plain: own, secure: ownSecure, http2: own }, nginxPeer];
    const secured = [{ ...contestants[0]!, child: tls }, nginxPeer];
    const rows: Row[] = [];
    const base = await race(contestants, 'requests/s', 'GET over HTTP/1.1, as before', ({ plain: port }) =>
      wrk(`http://127.0.0.1:${port}/`),
    );
    rows.push(base.row);
    rows.push(
      (
        await race(secured, 'requests/s', 'GET over TLS 1.3, kept connections', ({ secure: port }) =>
          wrk(`https://127.0.0.1:${port}/`),
        )
      ).row,
    );
    const closing = ['-H', 'Connection: close'];
    rows.push(
      (
        await race(secured, 'handshakes/s', 'full TLS 1.3 handshakes, one request each', ({ secure: port }) =>
          wrk(`https://127.0.0.1:${port}/`, ...closing),
        )
      ).row,
    );
    rows.push(
      (
        await race(contestants, 'requests/s', 'GET over HTTP/2, 8 connections × 16 streams', ({ http2: port }) =>
          h2load(`http://127.0.0.1:${port}/`),
        )
      ).row,
    );
    rows.push(await latency(contestants, 0.7 * Math.min(...base.rates.values()), bench.folder));
    rows.push(await held(bench, 'idle', target));
    await bench.node(OTHER_CORE, 'hold.ts', ['serve', String(upgrader)], upgrader);
    rows.push(await held(bench, 'websocket', upgrader));
    rows.push(routing());
    return rows;
  } finally {
    bench.close();
  }
}

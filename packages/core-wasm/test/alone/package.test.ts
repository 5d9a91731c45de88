// What a user of npm gets: the packed tarball in Node, in an esbuild bundle, in a Vite build, and both in Chromium with a module worker.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { type Server, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join, resolve } from 'node:path';
import { build as esbuild } from 'esbuild';
import { type Browser, chromium } from 'playwright-core';
import { build as vite } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const CHROMIUM = '/usr/bin/chromium';
const packageFolder = resolve(import.meta.dirname, '../..');
const tools = resolve(packageFolder, '../../node_modules/.bin');
const folder = mkdtempSync(join(tmpdir(), 'openclb-alone-'));
const project = join(folder, 'project');
afterAll(() => rmSync(folder, { recursive: true }));

/** One program for every place: prints or posts what it found. A memory that is shared without being asked for ends it. */
const PROGRAM = `
import { createCore, dissect, readCapture, writePcapng } from '@openclb/core-wasm';
import { explain } from '@openclb/core-wasm/explain';
import { createNat64 } from '@openclb/core-wasm/nat64';
const Memory = WebAssembly.Memory;
WebAssembly.Memory = class extends Memory {
  constructor(options) { if (options.shared) throw new Error('shared without being asked'); super(options); }
};
delete globalThis.SharedArrayBuffer;
const hex = '45000021123440004011c258c6336401cb00710a14e90035000d40a468656c6c6f';
const packet = Uint8Array.from(hex.match(/../g), (byte) => Number.parseInt(byte, 16));
export async function program() {
  const core = await createCore();
  const tunnelled = core.encapsulateGre(packet, { source: '10.254.1.1', destination: '10.255.0.11', key: 100 });
  const [read] = readCapture(writePcapng([{ frame: packet, interface: { linkType: 101 } }]));
  const targets = [{ address: '10.0.0.2', vpcId: 7, host: '10.255.0.11' }];
  const walk = await explain(packet, { listeners: [{ vip: '203.0.113.10', port: 53, protocol: 'udp', targets }] });
  return {
    source: core.parse(packet, 3).source,
    layers: core.dissect(tunnelled, { linkType: 101 }).layers.map((layer) => layer.protocol).join('/'),
    read: dissect(read.frame, { linkType: read.interface.linkType }).layers.length,
    walk: walk.verdict + ' by ' + walk.steps.map((step) => step.step).join(' '),
    embedded: (await createNat64({ prefix: '2001:db8:64::/96' })).embed('198.51.100.1'),
    memory: Object.prototype.toString.call(core.memory.buffer),
  };
}
`;
const EXPECTED = {
  source: '198.51.100.1',
  layers: 'ipv4/gre/ipv4/udp',
  read: 2,
  walk: expect.stringMatching(/^Forward by parse dispatch classify .* encapsulate emit verdict$/),
  embedded: '2001:db8:64::c633:6401',
  memory: '[object ArrayBuffer]',
};
const put = (name: string, text: string): string => {
  const path = join(project, name);
  writeFileSync(path, text);
  return path;
};
const nodeRun = (...args: string[]): string =>
  execFileSync(process.execPath, args, { cwd: project, encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } });
const textOf = (path: string): string => readFileSync(path, 'utf8');

/** Anything that only Node could resolve: static, dynamic and CommonJS imports of its modules. */
const NODE_IMPORT = /(?:from|import|require)\s*\(?\s*["'`](?:node:|fs|path|url|module|worker_threads)\b/;

beforeAll(() => {
  const own = join(project, 'node_modules/@openclb/core-wasm');
  mkdirSync(own, { recursive: true });
  const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', folder], {
    cwd: packageFolder,
    encoding: 'utf8',
  });
  const tarball = join(folder, packed.trim().split('\n').at(-1) ?? '');
  execFileSync('tar', ['-xzf', tarball, '-C', own, '--strip-components=1']);
  put('package.json', JSON.stringify({ name: 'alone', private: true, type: 'module' }));
  put('program.js', PROGRAM);
}, 60_000);

describe('the packed tarball', () => {
  test('runs in Node with one import', () => {
    const script = put(
      'run.js',
      `import { program } from './program.js'; console.log(JSON.stringify(await program()));`,
    );
    expect(JSON.parse(nodeRun(script))).toEqual(EXPECTED);
  });

  test('hands out the wasm files, and takes them back as bytes, module and shared', () => {
    const script = put(
      'bring.js',
      `import { readFileSync } from 'node:fs';
      import { createCore } from '@openclb/core-wasm';
      const bytes = (name) => readFileSync(new URL(import.meta.resolve('@openclb/core-wasm/' + name)));
      const kind = (core) => Object.prototype.toString.call(core.memory.buffer) + core.checksum(Uint8Array.of(0xff, 0xff));
      const plain = await createCore({ module: bytes('core.wasm') });
      const compiled = await createCore({ module: await WebAssembly.compile(bytes('core.wasm')) });
      const shared = await createCore({ shared: true });
      const brought = await createCore({ shared: true, module: bytes('core.shared.wasm') });
      const refused = await createCore({ module: Uint8Array.of(1, 2, 3) }).catch((error) => error.name);
      console.log(JSON.stringify([plain, compiled, shared, brought].map(kind).concat(refused)));`,
    );
    const [plain, shared] = ['[object ArrayBuffer]0', '[object SharedArrayBuffer]0'];
    expect(JSON.parse(nodeRun(script))).toEqual([plain, plain, shared, shared, 'CompileError']);
  });

  test('has types that need neither the DOM nor Node', () => {
    put(
      'use.ts',
      `import { createCore, readCapture, type ParsedPacket, type LinearMemory } from '@openclb/core-wasm';
      import { createExplainer, type Explanation } from '@openclb/core-wasm/explain';
      import { rendezvous } from '@openclb/core-wasm/hash';
      import { PacketRecord } from '@openclb/core-wasm/layout';
      const core = await createCore({ shared: false });
      export const parsed: ParsedPacket = core.parse(new Uint8Array(60), 3);
      export const memory: LinearMemory = core.memory;
      export const told: Explanation = (await createExplainer({})).explain(parsed.packet);
      export const first: bigint | null | undefined = [...readCapture(parsed.packet)][0]?.nanoseconds;
      export const bytes: number = PacketRecord.bytes;
      export const winner = rendezvous([{ id: 'a' }], 'key');`,
    );
    const options = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--lib', 'es2024', '--types', ''];
    for (const kind of [
      ['--module', 'nodenext'],
      ['--module', 'esnext', '--moduleResolution', 'bundler'],
    ])
      expect(nodeRun(join(tools, 'tsc'), ...options, ...kind, '--target', 'es2024', 'use.ts')).toBe('');
  });
});

describe('an esbuild bundle', () => {
  const bundle = async (platform: 'browser' | 'node' | 'neutral', format: 'esm' | 'iife'): Promise<string> => {
    const outfile = join(project, `bundle-${platform}-${format}.js`);
    const { metafile, warnings } = await esbuild({
      stdin: {
        contents: `import { program } from './program.js';
          program().then((found) => (globalThis.report ?? console.log)(JSON.stringify(found)));`,
        resolveDir: project,
      },
      bundle: true,
      minify: true,
      format,
      platform,
      metafile: true,
      outfile,
      logLevel: 'silent',
      absWorkingDir: project,
    });
    expect(warnings.filter((warning) => warning.id !== 'empty-import-meta')).toEqual([]);
    expect(Object.values(metafile.outputs).flatMap((output) => output.imports)).toEqual([]);
    return outfile;
  };

  test('is one file without any import, and runs in Node', async () => {
    for (const platform of ['browser', 'node', 'neutral'] as const) {
      const outfile = await bundle(platform, 'esm');
      expect(textOf(outfile)).not.toMatch(NODE_IMPORT);
      expect(JSON.parse(nodeRun(outfile))).toEqual(EXPECTED);
    }
  });

  test('leaves out the wasm that is not used', async () => {
    const textFor = async (contents: string): Promise<string> => {
      const stdin = { contents, resolveDir: project };
      const options = { bundle: true, minify: true, write: false, format: 'esm', absWorkingDir: project } as const;
      return (await esbuild({ stdin, ...options })).outputFiles[0]?.text ?? '';
    };
    // A wasm file begins with these eight bytes in base64.
    const artefactsIn = (text: string): number => text.split('AGFzbQEAAA').length - 1;
    const hash = await textFor(`export { rendezvous } from '@openclb/core-wasm/hash';`);
    expect(hash.length).toBeLessThan(3_000);
    expect(artefactsIn(await textFor(`export { readCapture, dissect } from '@openclb/core-wasm';`))).toBe(0);
    expect(artefactsIn(await textFor(`export { createCore } from '@openclb/core-wasm';`))).toBe(1);
    expect(artefactsIn(await textFor(`export { createExplainer } from '@openclb/core-wasm/explain';`))).toBe(1);
  });
});

/** Serves a folder on the loopback, without the headers that shared memory would need. */
async function serve(root: string): Promise<{ server: Server; url: string }> {
  const types: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };
  const server = createServer((request, response) => {
    const path = join(root, request.url === '/' ? 'index.html' : ((request.url ?? '').split('?')[0] ?? ''));
    if (!path.startsWith(root) || !existsSync(path)) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': types[extname(path)] ?? 'application/octet-stream' });
    response.end(readFileSync(path));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` };
}

describe('a Vite build', () => {
  const dist = join(project, 'dist');
  let browser: Browser | undefined;
  afterAll(() => browser?.close());

  beforeAll(async () => {
    put('index.html', '<!doctype html><title>alone</title><script type="module" src="/main.js"></script>');
    put(
      'main.js',
      `import { program } from './program.js';
      const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
      const answer = new Promise((done, fail) => {
        worker.onmessage = ({ data }) => done(data);
        worker.onerror = (event) => fail(new Error(event.message));
      });
      window.found = Promise.all([program(), answer]);`,
    );
    put('worker.js', `import { program } from './program.js';\nprogram().then((found) => postMessage(found));`);
    // Vite's own defaults for workers: a package that needs other ones would say so only to those who read its README.
    await vite({ root: project, configFile: false, logLevel: 'silent', build: { outDir: dist, minify: false } });
  }, 60_000);

  test('holds no import of Node', () => {
    const files = readdirSync(join(dist, 'assets')).filter((name) => name.endsWith('.js'));
    expect(files.length).toBeGreaterThanOrEqual(2);
    for (const name of files) expect(textOf(join(dist, 'assets', name))).not.toMatch(NODE_IMPORT);
  });

  test('runs in Chromium, in the page and in a module worker', async (context) => {
    context.skip(!existsSync(CHROMIUM), 'needs Chromium: apt-get install chromium');
    const { server, url } = await serve(dist);
    try {
      browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-quic'] });
      const page = await browser.newPage();
      await page.goto(url);
      await page.waitForFunction('window.found !== undefined');
      expect(await page.evaluate('window.found')).toEqual([EXPECTED, EXPECTED]);
    } finally {
      server.close();
    }
  });
});

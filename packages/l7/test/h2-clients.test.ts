// HTTP/2 judged by nghttp2's own clients: frames as nghttp prints them, load by h2load, in plain and over TLS.
import { execFile, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, onTestFinished, test, type TestContext } from 'vitest';
import { CERTIFICATES } from './certificates.ts';
import { okOrigin, origin, start } from './kit.ts';

const run = promisify(execFile);
const needsTools = (context: TestContext): void =>
  context.skip(spawnSync('nghttp', ['--version']).error !== undefined, 'needs nghttp: apt-get install nghttp2-client');

describe('nghttp2’s clients', () => {
  const certificates = (id: string) => CERTIFICATES[id];

  test('nghttp gets several pages over one connection, in plain and by ALPN', async (context) => {
    needsTools(context);
    const target = await okOrigin();
    const plain = await start({ targets: [target.url] });
    const secure = await start({ targets: [target.url], certificateIds: ['a.test'], certificates });
    for (const url of [`http://127.0.0.1:${plain.port}`, `https://127.0.0.1:${secure.port}`]) {
      const { stdout } = await run('nghttp', ['-nv', '--no-verify-peer', `${url}/a`, `${url}/b`, `${url}/c?d=e`], {
        timeout: 8000,
      });
      expect(stdout.match(/recv \(stream_id=\d+\) :status: 200/g)).toHaveLength(3);
      expect(stdout).not.toMatch(/RST_STREAM|PROTOCOL_ERROR/);
      expect(stdout.includes('The negotiated protocol: h2')).toBe(url.startsWith('https'));
    }
    expect(plain.proxy.counters().connections).toBe(1);
    expect(target.peers.map(({ text }) => text).join('')).toContain('GET /c?d=e HTTP/1.1\r\n');
  });

  test('nghttp uploads a megabyte with trailers, and the target has every byte of it', async (context) => {
    needsTools(context);
    const body = randomBytes(1024 * 1024);
    const folder = mkdtempSync(join(tmpdir(), 'clb-h2-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, 'body'), body);
    let seen = '';
    const target = await origin((_, peer) => {
      seen = peer.text;
      peer.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
    const { port } = await start({ targets: [target.url] });
    const args = [
      '-v',
      '-d',
      join(folder, 'body'),
      '--no-content-length',
      '--trailer',
      'x-sum: 1',
      `http://127.0.0.1:${port}/up`,
    ];
    const { stdout } = await run('nghttp', args, { timeout: 8000, maxBuffer: 1e8 });
    expect(stdout).toMatch(/:status: 200/);
    const content = unchunk(seen.slice(seen.indexOf('\r\n\r\n') + 4));
    expect(content.bytes.equals(body)).toBe(true);
    expect(content.trailers).toBe('x-sum: 1\r\n');
  });

  test('h2load loses no request of two thousand, in plain and over TLS, forty streams at a time', async (context) => {
    needsTools(context);
    const target = await okOrigin();
    const plain = await start({ targets: [target.url] });
    const secure = await start({ targets: [target.url], certificateIds: ['a.test'], certificates });
    for (const url of [`http://127.0.0.1:${plain.port}/`, `https://127.0.0.1:${secure.port}/`]) {
      const { stdout } = await run('h2load', ['-n', '2000', '-c', '4', '-m', '40', url], { timeout: 15_000 });
      expect(stdout).toContain('2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout');
      expect(stdout).toContain('status codes: 2000 2xx');
    }
    expect(plain.proxy.counters().requests + secure.proxy.counters().requests).toBe(4000);
  });
});

/** A chunked body, read by the rules of RFC 9112 7.1 without our codec. */
function unchunk(text: string): { bytes: Buffer; trailers: string } {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const end = text.indexOf('\r\n', at);
    const size = Number.parseInt(text.slice(at, end), 16);
    at = end + 2;
    if (size === 0) return { bytes: Buffer.concat(parts), trailers: text.slice(at, text.lastIndexOf('\r\n')) };
    parts.push(Buffer.from(text.slice(at, at + size), 'latin1'));
    at += size + 2;
  }
}

// The playground page (docs/playground): it bundles, its types are right, and its panels do what they say, from a file and without a server.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, type Page, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ethernet, ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { parseHex } from '../../../../docs/playground/hex.ts';
import { writePcapng } from '../../src/index.ts';

const CHROMIUM = '/usr/bin/chromium';
const root = resolve(import.meta.dirname, '../../../..');
const folder = mkdtempSync(join(tmpdir(), 'openclb-playground-'));
let browser: Browser | undefined;
let page: Page;
const complaints: string[] = [];

beforeAll(async () => {
  cpSync(join(root, 'docs/playground'), folder, { recursive: true });
  execFileSync(process.execPath, [join(root, 'tools/playground/build.mjs'), join(folder, 'dist/playground.js')]);
  if (!existsSync(CHROMIUM)) return;
  const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking'];
  browser = await chromium.launch({ executablePath: CHROMIUM, args });
  page = await browser.newPage();
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => complaints.push(message.text()));
  await page.goto(pathToFileURL(join(folder, 'index.html')).href);
  await page.waitForSelector('html[data-ready]');
}, 60_000);
afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true });
});

describe('the playground', () => {
  test('reads the dumps that people paste', () => {
    const bytes = Buffer.from('45000021123440004011c258c6336401cb00710a14e90035', 'hex');
    const dumps = [
      '45000021123440004011c258c6336401cb00710a14e90035',
      '45:00:00:21:12:34:40:00:40:11:c2:58:c6:33:64:01:cb:00:71:0a:14:e9:00:35',
      '00000000: 4500 0021 1234 4000 4011 c258 c633 6401  E..!.4@.@..X.3d.\n00000010: cb00 710a 14e9 0035                      ..q....5',
      '00000000  45 00 00 21 12 34 40 00  40 11 c2 58 c6 33 64 01  |E..!.4@.@..X.3d.|\n00000010  cb 00 71 0a 14 e9 00 35                           |..q....5|',
      '\t0x0000:  4500 0021 1234 4000 4011 c258 c633 6401  E..!.4@.@..X.3d.\n\t0x0010:  cb00 710a 14e9 0035                      ..q....5',
      '0000   45 00 00 21 12 34 40 00 40 11 c2 58 c6 33 64 01   E..!.4@.@..X.3d.\n0010   cb 00 71 0a 14 e9 00 35                           ..q....5',
    ];
    for (const dump of dumps) expect(Buffer.from(parseHex(dump)).toString('hex')).toBe(bytes.toString('hex'));
    expect(() => parseHex('45 0')).toThrow(/half a byte/);
    expect(() => parseHex('4500\nhello')).toThrow(/^Line 2 is no dump/);
  });

  test('has right types', () => {
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    expect(execFileSync(process.execPath, [tsc, '-p', join(root, 'docs/playground')], { encoding: 'utf8' })).toBe('');
  });

  test('dissects a pasted dump, and says what the core refuses', async (context) => {
    context.skip(browser === undefined, 'needs Chromium: apt-get install chromium');
    const frame = ethernet('02:00:00:00:00:01', '02:00:00:00:00:02', ipPacket('198.51.100.9', '203.0.113.9', tcp({})));
    await page.fill('#panel-dissect textarea', frame.toString('hex'));
    const panel = page.locator('#panel-dissect');
    expect(await panel.innerText()).toMatch(/The core accepts it[\s\S]*198\.51\.100\.9 → 203\.0\.113\.9/);
    frame[25] = (frame[25] ?? 0) ^ 1;
    await page.fill('#panel-dissect textarea', frame.toString('hex'));
    expect(await panel.innerText()).toMatch(/BadChecksum[\s\S]*should be 0x/);
    await page.fill('#panel-dissect textarea', 'no digits');
    expect(await panel.innerText()).toMatch(/Line 1 is no dump/);
  });

  test('lists the frames of a capture file, and shows the one that is chosen', async (context) => {
    context.skip(browser === undefined, 'needs Chromium: apt-get install chromium');
    const frames = [1, 2, 3].map((port) => ({
      frame: ethernet(
        '02:00:00:00:00:01',
        '02:00:00:00:00:02',
        ipPacket('10.0.0.1', '10.0.0.2', udp(port, 53, Buffer.from('x'))),
      ),
    }));
    const path = join(folder, 'three.pcapng');
    writeFileSync(path, writePcapng(frames));
    await page.setInputFiles('input[type=file]', path);
    await page.locator('.frames tbody tr').nth(2).click();
    expect(await page.locator('.frames tbody tr').count()).toBe(3);
    expect(await page.locator('#panel-dissect').innerText()).toMatch(/UDP\s+3 → 53/);
  });

  test('puts the packet into GRE, moves few slots of Maglev, and walks a director', async (context) => {
    context.skip(browser === undefined, 'needs Chromium: apt-get install chromium');
    await page.getByLabel('Sample').selectOption({ label: 'TCP SYN to a VIP' });
    await page.getByRole('tab', { name: 'GRE' }).click();
    expect(await page.locator('#panel-tunnel').innerText()).toMatch(/Out again unchanged[\s\S]*GRE\s+key 100/);
    await page.getByRole('tab', { name: 'Maglev' }).click();
    await page.getByRole('button', { name: 'Add a target' }).click();
    const moved = Number.parseFloat(
      (await page.locator('#panel-maglev .figures b').first().innerText()).replace(',', ''),
    );
    expect(moved).toBeGreaterThan(15);
    expect(moved).toBeLessThan(20);
    await page.getByRole('button', { name: 'Reverse the order' }).click();
    expect(await page.locator('#panel-maglev .figures b').first().innerText()).toMatch(/^0\.00/);
    await page.getByRole('tab', { name: 'Walk' }).click();
    await page.waitForSelector('#panel-walk .walk li');
    expect(await page.locator('#panel-walk').innerText()).toMatch(/Forward[\s\S]*listener web[\s\S]*Gre with key 100/);
  });

  test('translates an IPv6 packet, and tells the addresses of all prefix lengths', async (context) => {
    context.skip(browser === undefined, 'needs Chromium: apt-get install chromium');
    await page.getByRole('tab', { name: 'NAT64' }).click();
    await page.getByRole('button', { name: /^Take an IPv6 SYN/ }).click();
    const text = (): Promise<string> => page.locator('#panel-nat64').innerText();
    await expect.poll(text).toMatch(/translated[\s\S]*192\.0\.2\.33 → 203\.0\.113\.10/);
    expect(await text()).toContain('2001:db8:cb00:710a::');
  });

  test('complains of nothing in its console', (context) => {
    context.skip(browser === undefined, 'needs Chromium: apt-get install chromium');
    expect(complaints).toEqual([]);
  });
});

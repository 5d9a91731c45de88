// The standalone API, and the README example run as it stands.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { gre, ipPacket, tcp } from '../../../tools/testkit/build.ts';
import { destinationIs, expectIpv4, portsAre, sourceIs } from '../../../tools/testkit/expect.ts';
import { PacketError, createCore } from './index.ts';

const framed = (packet: Uint8Array): Buffer => Buffer.concat([Buffer.alloc(12), Buffer.from([8, 0]), packet]);
const packet = ipPacket('198.51.100.1', '203.0.113.10', tcp({ payload: Buffer.from('hi') }));

describe('the standalone core', () => {
  test('reads a frame and throws the drop reason of a bad one', async () => {
    const core = await createCore();
    const seen = core.parse(framed(packet));
    expect(seen).toMatchObject({
      family: 4,
      source: '198.51.100.1',
      destination: '203.0.113.10',
      protocol: 6,
      sourcePort: 40000,
      destinationPort: 80,
    });
    expect(Buffer.from(seen.payload).toString()).toBe('hi');
    expect(() => core.parse(packet.subarray(0, 19), 3)).toThrow(PacketError);
    expect(() => core.parse(new Uint8Array(), 3)).toThrow(/^TooShort/);
  });

  test('rewrites both ends with their checksums', async () => {
    const core = await createCore();
    const out = core.rewrite(packet, {
      destination: '10.0.0.2',
      destinationPort: 8080,
      source: '100.80.16.1',
      sourcePort: 9,
    });
    expectIpv4(framed(out), sourceIs('100.80.16.1'), destinationIs('10.0.0.2'), portsAre(9, 8080));
    expect(() => core.rewrite(packet, { destination: 'fd00::1' })).toThrow(RangeError);
  });

  test('what it puts into a tunnel comes out the same', async () => {
    const core = await createCore();
    const tunnel = { source: '10.254.1.1', destination: '10.255.0.11' };
    const out = core.encapsulateGre(packet, { ...tunnel, key: 100 });
    const expected = ipPacket(tunnel.source, tunnel.destination, gre(100, packet));
    expect(Buffer.from(out).equals(expected)).toBe(true);
    expect(core.decapsulate(out)).toMatchObject({ ...tunnel, key: 100 });
    const v6 = core.encapsulateIpip(packet, { source: 'fd00::1', destination: 'fd00::2' });
    expect(Buffer.from(core.decapsulate(v6).packet).equals(packet)).toBe(true);
    expect(() => core.decapsulate(packet)).toThrow(/^BadTunnel/);
  });

  test('the README example runs', async () => {
    const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
    const example = /```js\n([\s\S]*?)```/.exec(readme)?.[1] ?? '';
    const own = example
      .replace("import { createCore } from '@openclb/core-wasm';", '')
      .replace("import assert from 'node:assert';", '');
    const run = new Function('assert', 'createCore', 'console', `return (async () => {${own}})();`);
    const lines: string[] = [];
    await run((await import('node:assert')).default, createCore, { log: (line: string) => lines.push(line) });
    expect(lines).toEqual(['198.51.100.1:5353 -> 203.0.113.10:53', 'VPC 100: 198.51.100.1 -> 10.0.0.3:5300']);
  });
});

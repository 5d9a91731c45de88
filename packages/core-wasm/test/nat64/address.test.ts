// RFC 6052: addresses of all six prefix lengths, the well-known prefix and its rule; RFC 7757: explicit mappings.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ipPacket, tcp } from '../../../../tools/testkit/build.ts';
import { parseIp, pseudoSum, sum } from '../../../../tools/testkit/parse.ts';
import { embedded, ipv4, only, translator } from './translator.ts';

const nat64 = await translator();
const address4 = fc.ipV4();

describe('RFC 6052, 2.4: the text of the examples', () => {
  const rows = [
    ['2001:db8::/32', '2001:db8:c000:221::'],
    ['2001:db8:100::/40', '2001:db8:1c0:2:21::'],
    ['2001:db8:122::/48', '2001:db8:122:c000:2:2100::'],
    ['2001:db8:122:300::/56', '2001:db8:122:3c0:0:221::'],
    ['2001:db8:122:344::/64', '2001:db8:122:344:c0:2:2100:0'],
    ['2001:db8:122:344::/96', '2001:db8:122:344::c000:221'],
    ['64:ff9b::/96', '64:ff9b::c000:221'],
  ] as const;
  test('192.0.2.33 under every prefix length', () => {
    for (const [prefix, address] of rows) {
      const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1);
      expect(new URL(`http://[${nat64.embed('192.0.2.33', prefix)}]`).hostname.slice(1, -1)).toBe(canonical);
      expect(nat64.extract(address, prefix)).toBe('192.0.2.33');
    }
  });

  test('what is embedded is extracted; the u octet is zero, and another one is refused', () => {
    fc.assert(
      fc.property(address4, fc.constantFrom(...rows.map(([prefix]) => prefix)), (address, prefix) => {
        const six = nat64.embed(address, prefix);
        expect(nat64.extract(six, prefix)).toBe(address);
        const octets = parseIp(ipPacket(six, '::2', { protocol: 99, bytes: Buffer.alloc(8) }), 0x86dd);
        expect(octets?.source).toBe(six);
      }),
    );
    expect(nat64.extract('2001:db8:122:344:1c0:2:2100:0', '2001:db8:122:344::/64')).toBeNull();
    expect(nat64.extract('2001:db9::1')).toBeNull();
  });

  test('bad prefixes are refused when the translator is made', async () => {
    for (const prefix of [
      '64:ff9b::/95',
      '2001:db8::/33',
      '192.0.2.0/24',
      '2001:db8::1/96',
      '2001:db8:0:0:100::/96',
      '64:ff9b::',
    ])
      await expect(translator({ prefix })).rejects.toThrow(RangeError);
  });
});

describe('RFC 6052, 3.1: the well-known prefix and addresses that are not global', () => {
  test('are refused, and pass behind a prefix of the network or by the option', async () => {
    const own = await translator({ prefix: '2001:db8:64::/96' });
    const lax = await translator({ allowNonGlobal: true });
    for (const address of [
      '10.1.2.3',
      '172.16.0.1',
      '172.31.255.254',
      '192.168.1.1',
      '100.64.0.1',
      '169.254.1.1',
      '192.0.2.1',
      '198.18.0.1',
      '203.0.113.5',
    ]) {
      const packet = ipv4('8.8.8.8', address, tcp());
      expect(nat64.translate46(packet)).toMatchObject({ verdict: 'dropped', reason: 'NonGlobal' });
      expect(nat64.translate64(ipPacket(embedded(address), embedded('8.8.8.8'), tcp()))).toMatchObject({
        reason: 'NonGlobal',
      });
      expect(own.translate46(packet).verdict).toBe('translated');
      expect(lax.translate46(packet).verdict).toBe('translated');
    }
    for (const address of [
      '8.8.8.8',
      '172.15.0.1',
      '172.32.0.1',
      '100.63.255.255',
      '100.128.0.1',
      '192.0.1.1',
      '198.17.0.1',
      '198.20.0.1',
    ])
      expect(nat64.translate46(ipv4('1.1.1.1', address, tcp())).verdict).toBe('translated');
  });

  test('4.1: the prefix is checksum-neutral, so a transport checksum stays as it is', () => {
    const packet = ipv4('1.1.1.1', '8.8.8.8', tcp());
    const out = only(nat64.translate46(packet));
    expect(out.readUInt16BE(56)).toBe(packet.readUInt16BE(36));
    expect(sum(out.subarray(40), pseudoSum(out.subarray(8, 40), 6, out.length - 40))).toBe(0xffff);
  });
});

describe('RFC 7757: explicit mappings', () => {
  const rows = [
    { prefix4: '192.0.2.1/32', prefix6: '2001:db8:aaaa::/128' },
    { prefix4: '192.0.2.2/32', prefix6: '2001:db8:bbbb::b/128' },
    { prefix4: '192.0.2.16/28', prefix6: '2001:db8:cccc::/124' },
    { prefix4: '192.0.2.128/26', prefix6: '2001:db8:dddd::/64' },
    { prefix4: '192.0.2.192/29', prefix6: '2001:db8:eeee:8::/62' },
    { prefix4: '192.0.2.224/31', prefix6: '64:ff9b::/127' },
  ];
  test('the examples of figure 2 and 3, both ways; the longest match wins over the prefix', async () => {
    const mapped = await translator({ mappings: rows, allowNonGlobal: true });
    for (const [four, six] of [
      ['192.0.2.1', '2001:db8:aaaa::'],
      ['192.0.2.2', '2001:db8:bbbb::b'],
      ['192.0.2.16', '2001:db8:cccc::'],
      ['192.0.2.24', '2001:db8:cccc::8'],
      ['192.0.2.31', '2001:db8:cccc::f'],
      ['192.0.2.128', '2001:db8:dddd::'],
      ['192.0.2.152', '2001:db8:dddd:0:6000::'],
      ['192.0.2.183', '2001:db8:dddd:0:dc00::'],
      ['192.0.2.191', '2001:db8:dddd:0:fc00::'],
      ['192.0.2.193', '2001:db8:eeee:8:8000::'],
      ['192.0.2.199', '2001:db8:eeee:b:8000::'],
      ['192.0.2.225', '64:ff9b::1'],
      ['198.51.100.9', '64:ff9b::c633:6409'],
    ] as const) {
      const out = parseIp(only(mapped.translate46(ipv4(four, '8.8.8.8', tcp()))), 0x86dd);
      expect(out).toMatchObject({ source: six, tcp: { isChecksumValid: true } });
      const back = parseIp(only(mapped.translate64(ipPacket(six, embedded('8.8.8.8'), tcp()))), 0x0800);
      expect(back).toMatchObject({ source: four, tcp: { isChecksumValid: true }, isChecksumValid: true });
    }
  });

  test('a mapping with fewer suffix bits in IPv6 than in IPv4 is refused', async () => {
    await expect(translator({ mappings: [{ prefix4: '192.0.2.0/24', prefix6: '2001:db8::/121' }] })).rejects.toThrow(
      /3\.2/,
    );
  });
});

// Access lists in the walks: against a reader of the rules that knows no trie, over images, and what no list may be.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { gre, ipPacket, tcp, udp } from '../../../tools/testkit/build.ts';
import {
  type AccessListInput,
  type AccessRuleInput,
  RULES_PER_PREFIX_MAX,
  formatAddress,
  parseAddress,
} from '../src/index.ts';
import { buildAccess } from '../src/access-lists.ts';
import { HOST1, T1, TABLES, VIP, VIP6, VM_A1, director, id, type DirectorUnderTest } from './director-fixture.ts';

const ACL = id('acl');

function guard(
  under: DirectorUnderTest,
  rules: readonly AccessRuleInput[],
  otherwise: 'allow' | 'deny',
  nowMs = 0,
): void {
  const listeners = TABLES.listeners.map((row) => ({ ...row, access: ACL }));
  under.apply({ ...TABLES, listeners, accessLists: [{ id: ACL, otherwise, rules }] }, nowMs);
}

const syn = (client: string, sourcePort = 1000, port = 80, flags = 'S'): Buffer =>
  ipPacket(client, client.includes(':') ? VIP6 : VIP, tcp({ sourcePort, destinationPort: port, flags }));

const isIn = (under: DirectorUnderTest, packet: Buffer, nowMs?: number): boolean => {
  const { reason } = under.receive(packet, nowMs);
  return reason !== 'AccessDenied';
};

/** Reads every rule: the longest prefix that fits, of equal ones the first. */
function naive(list: Omit<AccessListInput, 'id'>, client: string, protocol: number, port: number): boolean {
  const bits = (text: string): string =>
    [...parseAddress(text)].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  let best = -1;
  let answer = list.otherwise;
  for (const { cidr, action, protocol: wanted, firstPort = 0, lastPort = 65_535 } of list.rules) {
    const [base = '', length = ''] = cidr.split('/');
    if (base.includes(':') !== client.includes(':')) continue;
    const whole = Number(length) + (base.includes(':') ? 0 : 96);
    if (bits(base).slice(0, whole) !== bits(client).slice(0, whole)) continue;
    if ((wanted !== undefined && wanted !== protocol) || port < firstPort || port > lastPort || whole <= best) continue;
    best = whole;
    answer = action;
  }
  return answer === 'allow';
}

// Few different bits, so that prefixes lie in each other and clients in them.
const address = fc
  .tuple(fc.boolean(), fc.array(fc.constantFrom(0, 1, 128, 129, 255), { minLength: 4, maxLength: 4 }))
  .map(([isV6, [a = 0, b = 0, c = 0, d = 0]]) => {
    if (!isV6) return Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 40 + (a & 1), b, c, d);
    return Uint8Array.of(0x20, 1, 0xd, 0xb8, a, b, c, d, d, c, b, a, a, b, c, d);
  });
const prefix = fc.tuple(address, fc.nat(128)).map(([bytes, bits]) => {
  const isV4 = bytes[10] === 255 && bytes[0] === 0;
  const length = isV4 ? 96 + (bits % 33) : bits;
  const masked = bytes.map((byte, at) => byte & (0xff00 >> Math.min(8, Math.max(0, length - at * 8))));
  return isV4 ? `${formatAddress(masked)}/${length - 96}` : `${formatAddress(masked)}/${length}`;
});
const rule = fc.record(
  {
    cidr: prefix,
    action: fc.constantFrom('allow' as const, 'deny' as const),
    protocol: fc.constantFrom(6, 17),
    firstPort: fc.constantFrom(0, 53, 80),
    lastPort: fc.constantFrom(80, 81, 65_535),
  },
  { requiredKeys: ['cidr', 'action'] },
);
const listOf = fc.record({
  otherwise: fc.constantFrom('allow' as const, 'deny' as const),
  rules: fc.array(rule, { maxLength: 40 }),
});

describe('an access list', () => {
  test('lets in whom a reader of all its rules lets in', async () => {
    const under = await director();
    let source = 1;
    fc.assert(
      fc.property(listOf, fc.array(address, { minLength: 10, maxLength: 20 }), ({ otherwise, rules }, clients) => {
        guard(under, rules, otherwise);
        // Their first addresses too, but for those that no packet may come from.
        const near = rules.map(({ cidr }) => cidr.split('/')[0]!).filter((text) => /^(40|41|2001:)/.test(text));
        for (const client of [...clients.map(formatAddress), ...near]) {
          source = (source % 60_000) + 1;
          const expected = naive({ otherwise, rules }, client, 6, 80);
          expect(isIn(under, syn(client, source)), `${client} tcp 80`).toBe(expected);
          if (client.includes(':')) continue;
          const datagram = ipPacket(client, VIP, udp(source, 53, Buffer.alloc(8)));
          expect(isIn(under, datagram), `${client} udp 53`).toBe(naive({ otherwise, rules }, client, 17, 53));
        }
      }),
      { numRuns: 60 },
    );
  });

  test('is asked for new flows only, and a changed one is carried to the flows that are there', async () => {
    const under = await director();
    guard(under, [{ cidr: '198.51.100.0/24', action: 'allow' }], 'deny');
    for (const client of ['198.51.100.1', '198.51.100.2']) {
      under.receive(syn(client), 1000);
      const answer = tcp({ sourcePort: 8080, destinationPort: 1000, flags: 'SA' });
      under.receive(ipPacket(HOST1, T1, gre(100, ipPacket(VM_A1, client, answer))), 1000);
      expect(under.receive(syn(client, 1000, 80, 'A'), 1000).verdict).toBe('Forward');
    }
    expect(isIn(under, syn('203.0.113.200'))).toBe(false);
    guard(under, [{ cidr: '198.51.100.2/32', action: 'allow' }], 'deny');
    // Until the sweep has come by, a connection that is there goes on.
    expect(under.receive(syn('198.51.100.1', 1000, 80, 'A'), 1100).verdict).toBe('Forward');
    (under.core.exports['expireFlows'] as (nowMs: number) => number)(1200);
    expect(under.receive(syn('198.51.100.1', 1000, 80, 'A'), 1300)).toMatchObject({ reason: 'AccessDenied' });
    expect(under.receive(syn('198.51.100.2', 1000, 80, 'A'), 1300).verdict).toBe('Forward');
    expect(under.writer.meters.counters(id('l80'))).toMatchObject({ denied: 2 });
  });

  test('is not asked about listeners that name none, and goes with the image', async () => {
    const under = await director();
    const [first, ...others] = TABLES.listeners;
    const accessLists = [{ id: ACL, otherwise: 'deny' as const, rules: [] }];
    under.apply({ ...TABLES, listeners: [{ ...first!, access: ACL }, ...others], accessLists });
    expect(isIn(under, syn('198.51.100.1', 1, 80))).toBe(false);
    expect(isIn(under, syn('198.51.100.1', 1, 81))).toBe(true);
    under.apply(TABLES);
    expect(isIn(under, syn('198.51.100.1', 2, 80))).toBe(true);
  });
});

describe('an image', () => {
  const bad: [string, AccessRuleInput][] = [
    ['no address', { cidr: '198.51.100/24', action: 'allow' }],
    ['a length that is none', { cidr: '198.51.100.0/33', action: 'allow' }],
    ['a length with a sign', { cidr: '198.51.100.0/-1', action: 'allow' }],
    ['bits behind the length', { cidr: '198.51.100.1/24', action: 'allow' }],
    ['a protocol that is none', { cidr: '::/0', action: 'allow', protocol: 256 }],
    ['ports that end before they begin', { cidr: '::/0', action: 'allow', firstPort: 9, lastPort: 8 }],
    ['a port that is none', { cidr: '::/0', action: 'allow', firstPort: 0.5 }],
    ['another action', { cidr: '::/0', action: 'reject' as 'deny' }],
  ];
  test.each(bad)('with %s is refused as a whole, and the old one serves on', async (_, wrong) => {
    const under = await director();
    guard(under, [{ cidr: '198.51.100.0/24', action: 'allow' }], 'deny');
    expect(() => guard(under, [{ cidr: '0.0.0.0/0', action: 'allow' }, wrong], 'deny')).toThrow(RangeError);
    expect(isIn(under, syn('203.0.113.9'))).toBe(false);
    expect(isIn(under, syn('198.51.100.9'))).toBe(true);
  });

  test('with too many rules, too many for one prefix, or a list that is not there is refused', async () => {
    const under = await director({ plan: { accessRules: 100 } });
    const many = (count: number, cidr: (at: number) => string): AccessRuleInput[] =>
      Array.from({ length: count }, (_, at) => ({ cidr: cidr(at), action: 'allow' }));
    expect(() =>
      guard(
        under,
        many(99, (at) => `10.0.0.${at}/32`),
        'deny',
      ),
    ).toThrow(/101 access rules/);
    expect(() =>
      guard(
        under,
        many(RULES_PER_PREFIX_MAX + 1, () => '10.0.0.0/8'),
        'deny',
      ),
    ).toThrow(/for one prefix/);
    expect(() => under.apply({ ...TABLES, listeners: [{ ...TABLES.listeners[0]!, access: ACL }] })).toThrow(/lacks/);
    guard(
      under,
      many(98, (at) => `10.0.0.${at}/32`),
      'deny',
    );
    expect(isIn(under, syn('10.0.0.97'))).toBe(true);
    expect(isIn(under, syn('10.0.0.98'))).toBe(false);
  });

  test('of 100,000 rules is built once, fits the default plan, and every rule of it is found', () => {
    const rules = Array.from({ length: 100_000 }, (_, at): AccessRuleInput => {
      const cidr =
        at % 2 === 0
          ? `${11 + (at >> 16)}.${(at >> 8) & 255}.${at & 255}.0/24`
          : `2001:db8:${(at >> 1).toString(16)}::/48`;
      return { cidr, action: at % 3 === 0 ? 'allow' : 'deny', protocol: 6 };
    });
    const begun = performance.now();
    const built = buildAccess([{ id: ACL, otherwise: 'deny', rules }], 131_072);
    const ms = performance.now() - begun;
    const bytes = built.nodes.length + built.rules.length;
    console.log(`100,000 access rules: built in ${Math.round(ms)} ms, ${(bytes / 2 ** 20).toFixed(1)} MiB a bank`);
    // At most a node a prefix and one where two part, and one rule each beside the last words of both families.
    expect(bytes).toBeLessThanOrEqual((2 * 100_002 + 1) * 32 + 100_002 * 8);
  });

  test('of 100,000 rules answers as a reader of the rules does', async () => {
    const under = await director({ plan: { accessRules: 100_010 } });
    const octets = (at: number): string => `${20 + (at >> 16)}.${(at >> 8) & 255}.${at & 255}`;
    const rules = Array.from({ length: 100_000 }, (_, at): AccessRuleInput => ({
      cidr: `${octets(at)}.0/24`,
      action: at % 3 === 0 ? 'allow' : 'deny',
    }));
    guard(under, rules, 'deny');
    for (let at = 0; at < 100_000; at += 997)
      expect(isIn(under, syn(`${octets(at)}.7`, (at % 60_000) + 1))).toBe(at % 3 === 0);
    expect(isIn(under, syn('19.255.255.7'))).toBe(false);
  });
});

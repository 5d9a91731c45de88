// The dissector against two others: scapy makes the frames (samples.py), tshark reads them too; the core's verdict stands beside every list.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ethernet, ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { type Dissection, type StandaloneCore, createCore, dissect, writePcap } from '../../src/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'openclb-dissect-'));
afterAll(() => rmSync(folder, { recursive: true }));
// Debian's scapy belongs to Debian's Python, which is not always the first one in PATH.
const PYTHON = '/usr/bin/python3';
const hasNoScapy = spawnSync(PYTHON, ['-c', 'import scapy']).status !== 0;
const hasNoTshark = spawnSync('tshark', ['--version']).error !== undefined;
const MAC = '02:00:00:00:00:01';

let core: StandaloneCore;
beforeAll(async () => {
  core = await createCore();
});

interface Sample {
  readonly name: string;
  readonly frame: Uint8Array;
}

function samples(): Sample[] {
  const script = fileURLToPath(new URL('samples.py', import.meta.url));
  const lines = execFileSync(PYTHON, [script], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return lines
    .trim()
    .split('\n')
    .map((line) => line.split('\t'))
    .map(([name = '', hex = '']) => ({ name, frame: new Uint8Array(Buffer.from(hex, 'hex')) }));
}

/** tshark's field → ours: layer and field. Where tshark prints several, the first must be among ours. */
const SAME_FIELDS: Readonly<Record<string, readonly [layer: string, field: string]>> = {
  'eth.src': ['ethernet', 'source'],
  'vlan.id': ['vlan', 'vlan'],
  'arp.src.proto_ipv4': ['arp', 'sender address'],
  'arp.dst.proto_ipv4': ['arp', 'target address'],
  'ip.src': ['ipv4', 'source'],
  'ip.dst': ['ipv4', 'destination'],
  'ip.ttl': ['ipv4', 'ttl'],
  'ip.len': ['ipv4', 'total bytes'],
  'ip.dsfield.dscp': ['ipv4', 'dscp'],
  'ip.dsfield.ecn': ['ipv4', 'ecn'],
  'ip.proto': ['ipv4', 'protocol'],
  'ipv6.src': ['ipv6', 'source'],
  'ipv6.dst': ['ipv6', 'destination'],
  'ipv6.hlim': ['ipv6', 'hop limit'],
  'ipv6.flow': ['ipv6', 'flow label'],
  'ipv6.plen': ['ipv6', 'payload bytes'],
  'tcp.srcport': ['tcp', 'source port'],
  'tcp.seq_raw': ['tcp', 'sequence'],
  'tcp.ack_raw': ['tcp', 'acknowledgement'],
  'tcp.window_size_value': ['tcp', 'window'],
  'tcp.hdr_len': ['tcp', 'header bytes'],
  'tcp.options.mss_val': ['tcp', 'maximum segment size'],
  'tcp.options.wscale.shift': ['tcp', 'window scale'],
  'udp.dstport': ['udp', 'destination port'],
  'udp.length': ['udp', 'bytes'],
  'icmp.type': ['icmp', 'type'],
  'icmp.code': ['icmp', 'code'],
  'icmp.mtu': ['icmp', 'next-hop mtu'],
  'icmp.ident': ['icmp', 'identifier'],
  'icmpv6.type': ['icmpv6', 'type'],
  'icmpv6.mtu': ['icmpv6', 'mtu'],
  'icmpv6.nd.ns.target_address': ['icmpv6', 'target'],
  'gre.key': ['gre', 'key'],
  'gre.sequence_number': ['gre', 'sequence'],
  'vxlan.vni': ['vxlan', 'vni'],
  'sctp.srcport': ['sctp', 'source port'],
};
const STATUS = ['ip', 'tcp', 'udp', 'icmp', 'icmpv6', 'sctp'].map((protocol) => `${protocol}.checksum.status`);

/** Rows of tshark: one value a field, the first where there are several; frame.protocols in front. */
function shark(frames: readonly Sample[]): Map<string, string>[] {
  const path = join(folder, 'samples.pcap');
  writeFileSync(path, writePcap(frames.map(({ frame }) => ({ frame }))));
  const names = ['frame.protocols', ...STATUS, ...Object.keys(SAME_FIELDS)];
  const checks = ['ip.check_checksum', 'tcp.check_checksum', 'udp.check_checksum'].flatMap((name) => [
    '-o',
    `${name}:TRUE`,
  ]);
  const args = [
    '-r',
    path,
    ...checks,
    '-o',
    'sctp.checksum:TRUE',
    '-T',
    'fields',
    ...names.flatMap((name) => ['-e', name]),
  ];
  const rows = execFileSync('tshark', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return rows
    .replace(/\n$/, '')
    .split('\n')
    .map((row) => new Map(row.split('\t').map((value, at) => [names[at] ?? '', value])));
}

const SHARK_LAYERS: Readonly<Record<string, string>> = {
  eth: 'ethernet',
  ip: 'ipv4',
  ieee8021ad: 'vlan',
  'ipv6.hopopts': 'hop-by-hop',
  'ipv6.dstopts': 'destination-options',
  'ipv6.routing': 'routing',
  'ipv6.fraghdr': 'fragment',
};

const layersOf = (dissection: Dissection): string => dissection.layers.map((layer) => layer.protocol).join(':');
const numberOrText = (value: string | number): string => {
  const number = Number(value);
  return value !== '' && Number.isFinite(number) ? String(number) : String(value);
};

/** Values of a field in all layers of a kind, from the outside in. */
function fieldsOf(dissection: Dissection, layer: string, field: string): string[] {
  const layers = dissection.layers.filter(({ protocol }) => protocol === layer);
  return layers.flatMap(({ fields }) =>
    fields.filter(({ name }) => name === field).map(({ value }) => numberOrText(value)),
  );
}

describe('the dissector', () => {
  test('sees the layers, the fields and the wrong checksums that tshark sees', (context) => {
    context.skip(hasNoScapy || hasNoTshark, 'needs scapy and tshark: apt-get install python3-scapy tshark');
    const frames = samples();
    const rows = shark(frames);
    expect(rows.length).toBe(frames.length);
    let compared = 0;
    for (const [at, { name, frame }] of frames.entries()) {
      const own = dissect(frame);
      const row = rows[at] ?? new Map<string, string>();
      const theirs = (row.get('frame.protocols') ?? '')
        .split(':')
        .filter((layer) => !['ethertype', 'data', 'dns'].includes(layer));
      // A first fragment has ports: tshark leaves them to reassembly.
      const layers = name === 'fragment6' ? layersOf(own).replace(/:udp$/, '') : layersOf(own);
      const expected = theirs.map((layer) => SHARK_LAYERS[layer] ?? layer).join(':');
      expect(`${name} ${layers}`).toBe(`${name} ${expected}`);
      for (const [field, [layer, ours]] of Object.entries(SAME_FIELDS)) {
        const value = (row.get(field) ?? '').split(',')[0] ?? '';
        if (value === '' || name === 'fragment6') continue;
        expect(fieldsOf(own, layer, ours), `${name}: ${field}`).toContain(numberOrText(value));
        compared++;
      }
      const isBad = STATUS.some((field) => (row.get(field) ?? '').split(',').includes('0'));
      const isSctp = name.includes('sctp');
      expect(isSctp || own.problems.length > 0, `${name}: ${own.problems.join()}`).toBe(isSctp || isBad);
    }
    expect(compared).toBeGreaterThan(250);
  });

  test('finds the CRC32c of SCTP that scapy computes, and a wrong one', (context) => {
    context.skip(hasNoScapy, 'needs scapy: apt-get install python3-scapy');
    const wrong = samples().filter(({ name, frame }) => name.includes('sctp') && dissect(frame).problems.length > 0);
    expect(wrong.map(({ name }) => name)).toEqual(['wrong sctp checksum']);
  });

  test('says where every field lies, what it means and what is wrong with it, and what the core thinks of the frame', () => {
    const frame = ethernet(MAC, MAC, ipPacket('198.51.100.1', '203.0.113.10', tcp({ flags: 'SA', mss: 1400 })));
    frame.writeUInt16BE(0xbeef, 14 + 10);
    const dissection = core.dissect(frame);
    expect(dissection.verdict).toEqual({
      isAccepted: false,
      code: 'BadChecksum',
      meaning: 'The IPv4 header checksum is wrong.',
    });
    const fields = dissection.layers.flatMap((layer) => layer.fields);
    expect(fields.find(({ name }) => name === 'checksum')).toMatchObject({
      offset: 24,
      bytes: 2,
      value: '0xbeef',
      problem: expect.stringMatching(/^should be 0x/),
    });
    expect(fields.find(({ name, offset }) => name === 'flags' && offset > 40)).toMatchObject({ meaning: 'SYN, ACK' });
    expect(fields.find(({ name }) => name === 'maximum segment size')).toMatchObject({ value: 1400, offset: 54 });
    expect(dissection.problems).toEqual([expect.stringMatching(/^IPv4: checksum/)]);
  });

  test('reads other link types, and the verdict is about the packet behind their headers', () => {
    const packet = ipPacket('198.51.100.1', '203.0.113.10', udp(1, 2, Buffer.from('x')));
    const cooked = Buffer.concat([Buffer.from('00000001000602000000000100000800', 'hex'), packet]);
    const cooked2 = Buffer.concat([Buffer.from('0800000000000002000100060200000000010000', 'hex'), packet]);
    const loopback = Buffer.concat([Buffer.from('02000000', 'hex'), packet]);
    for (const [linkType, frame, first] of [
      [101, packet, 'ipv4'],
      [228, packet, 'ipv4'],
      [113, cooked, 'sll'],
      [276, cooked2, 'sll2'],
      [0, loopback, 'null'],
    ] as const) {
      const seen = core.dissect(frame, { linkType });
      expect(seen.layers[0]?.protocol).toBe(first);
      expect(layersOf(seen)).toMatch(/ipv4:udp$/);
      expect(seen.verdict.code).toBe('None');
    }
    expect(core.dissect(packet, { linkType: 999 }).layers).toEqual([]);
  });

  test('stops at the tenth tunnel in a tunnel, and says so', () => {
    let packet = ipPacket('10.0.0.1', '10.0.0.2', udp(1, 2, Buffer.from('x')));
    for (let count = 0; count < 12; count++) packet = ipPacket('10.0.0.1', '10.0.0.2', { protocol: 4, bytes: packet });
    expect(dissect(packet, { linkType: 101 }).problems.at(-1)).toMatch(/tunnels or quotes/);
  });

  test('of any bytes gives fields inside the frame, and agrees with the core about the IP header', () => {
    const seeds = [
      ethernet(MAC, MAC, ipPacket('198.51.100.1', '203.0.113.10', tcp({ mss: 1400 }))),
      ethernet(MAC, MAC, ipPacket('2001:db8::1', '2001:db8::2', udp(1, 4789, Buffer.alloc(60, 8)))),
      ethernet(
        MAC,
        MAC,
        ipPacket('10.0.0.1', '10.0.0.2', {
          protocol: 47,
          bytes: Buffer.from('b000080012340000000000070000000145', 'hex'),
        }),
      ),
    ];
    const damaged = fc
      .tuple(fc.constantFrom(...seeds), fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 3 }), fc.nat(130))
      .map(([seed, changes, end]) => {
        const copy = new Uint8Array(seed).slice(0, Math.max(end, 10));
        for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
        return copy;
      });
    const seen = { accepted: 0, refused: 0 };
    fc.assert(
      fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 200 })), (frame) => {
        const { layers, payload, verdict } = core.dissect(frame);
        for (const layer of layers) {
          expect(layer.offset + layer.bytes).toBeLessThanOrEqual(frame.length);
          for (const field of layer.fields) expect(field.offset + field.bytes).toBeLessThanOrEqual(frame.length);
        }
        expect(payload.offset + payload.bytes).toBeLessThanOrEqual(frame.length);
        seen[verdict.isAccepted ? 'accepted' : 'refused']++;
        const outer = layers.find(({ protocol }) => protocol === 'ipv4');
        const names = ['version', 'header bytes', 'total bytes', 'checksum'];
        const wrong = outer?.fields.filter(({ name, problem }) => names.includes(name) && problem !== undefined) ?? [];
        const fields = wrong.map(({ name }) => name).join();
        const agreed = verdict.isAccepted ? '' : verdict.code === 'BadChecksum' ? 'checksum' : fields;
        expect(fields).toBe(agreed);
      }),
      { numRuns: 4000 },
    );
    expect(seen.accepted).toBeGreaterThan(200);
    expect(seen.refused).toBeGreaterThan(200);
  });
});

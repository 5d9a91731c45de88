// The reference packet of data-plane.md P39 and the image that it needs, for the tests of a whole director.
import { type DirectorImage } from '@openclb/model';

export const bytes = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

/** Client 198.51.100.1:40000 → VIP 203.0.113.10:80, SYN, MSS 1460, SACK permitted, window scale 7; TTL 64. */
export const SYN = bytes(`
  020000000000 0200000000fe 0800
  4500 003c 1234 4000 4006 0000 c6336401 cb00710a
  9c40 0050 00000001 00000000 a002 faf0 0000 0000
  020405b4 0402 080a 00000001 00000000 01 030307`);
/** Fills both checksums in, as a sender does. */
export function complete(frame: Buffer): Buffer {
  const copy = Buffer.from(frame);
  copy.writeUInt16BE(0, 24);
  copy.writeUInt16BE(inverse(copy.subarray(14, 34)), 24);
  const tcp = copy.subarray(34, 14 + copy.readUInt16BE(16));
  tcp.writeUInt16BE(0, 16);
  const pseudo = Buffer.concat([copy.subarray(26, 34), Buffer.from([0, 6, tcp.length >> 8, tcp.length & 255])]);
  tcp.writeUInt16BE(inverse(Buffer.concat([pseudo, tcp])), 16);
  return copy;
}

/** The inverted one's-complement sum: a checksum to write, or 0 over data with a true one. */
export function inverse(data: Buffer): number {
  let sum = 0;
  for (let at = 0; at < data.length; at += 2) sum += (data[at]! << 8) | (data[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export function referenceImage(revision: number, more: Partial<DirectorImage> = {}): DirectorImage {
  return {
    role: 'director',
    generation: { revision, compiler: 1 },
    self: { id: 'ld1', ordinal: 1, underlay: { v4: '10.255.0.1' } },
    tunnels: [{ node: 'ld1', worker: 0, v4: '10.254.1.1' }],
    anycast: { v4: '10.254.0.1' },
    probe: { v4: '100.64.16.1' },
    vips: [{ net: 0, address: '203.0.113.10' }],
    listeners: [
      {
        id: '00000000000000a1',
        name: 'lbl-a',
        loadBalancer: 'lb-a',
        net: 0,
        vip: '203.0.113.10',
        vport: 80,
        protocol: 6,
        translation: 'dnat',
        scheduler: 'maglev',
        group: '00000000000000b1',
        directReturn: false,
        idleSeconds: 900,
        onRemove: 'run',
      },
    ],
    groups: [
      {
        id: '00000000000000b1',
        name: 'lbtg-a',
        slots: 251,
        targets: [{ target: '00000000000000c1', weight: 10 }],
        check: { type: 'none', intervalMs: 2_000, timeoutMs: 1_000, healthyThreshold: 2, unhealthyThreshold: 2 },
      },
    ],
    targets: [
      {
        id: '00000000000000c1',
        name: 'tgt-a',
        net: 100,
        address: '10.0.0.2',
        port: 8080,
        encapsulation: 'gre',
        host: '00000000000000d1',
      },
    ],
    hosts: [{ id: '00000000000000d1', name: 'host1', v4: '10.255.0.11' }],
    eips: [],
    trusted: [],
    ...more,
  };
}

export const referenceSyn = (): Buffer => complete(SYN);

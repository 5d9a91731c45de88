// Checkers for packets, in the words of the tests. `expectIpv4` and `expectIpv6` always verify every checksum as well.
import { strict as assert } from 'node:assert';
import { parseFrame } from './parse.ts';
import type { IpLayer } from './parse.ts';

export type Checker = (packet: IpLayer) => void;

/** Takes a frame or a parsed packet. */
export function expectIpv4(packet: Buffer | IpLayer, ...checkers: Checker[]): IpLayer {
  return expectIp(4, packet, checkers);
}

export function expectIpv6(packet: Buffer | IpLayer, ...checkers: Checker[]): IpLayer {
  return expectIp(6, packet, checkers);
}

function expectIp(version: 4 | 6, packet: Buffer | IpLayer, checkers: readonly Checker[]): IpLayer {
  const layer = Buffer.isBuffer(packet) ? parseFrame(packet).ip : packet;
  assert.ok(layer, 'the frame holds no IP packet');
  assert.equal(layer.version, version, 'IP version');
  assert.equal(checksumFault(layer), undefined);
  for (const checker of checkers) checker(layer);
  return layer;
}

/** The first layer whose checksum is wrong, from the outside in; undefined when all are right. */
export function checksumFault(layer: IpLayer): string | undefined {
  const where = `${layer.source} → ${layer.destination}`;
  if (!layer.isChecksumValid) return `IPv4 header checksum of ${where} is wrong`;
  if (layer.tcp && !layer.tcp.isChecksumValid) return `TCP checksum of ${where} is wrong`;
  if (layer.udp && !layer.udp.isChecksumValid) return `UDP checksum of ${where} is wrong`;
  if (layer.icmp && !layer.icmp.isChecksumValid) return `ICMP checksum of ${where} is wrong`;
  return layer.inner ? checksumFault(layer.inner) : undefined;
}

export const sourceIs =
  (address: string): Checker =>
  (packet) =>
    assert.equal(packet.source, address, 'source');

export const destinationIs =
  (address: string): Checker =>
  (packet) =>
    assert.equal(packet.destination, address, 'destination');

export const ttlIs =
  (ttl: number): Checker =>
  (packet) =>
    assert.equal(packet.ttl, ttl, 'TTL');

export const portsAre =
  (source: number, destination: number): Checker =>
  (packet) => {
    const ports = packet.tcp ?? packet.udp;
    assert.deepEqual([ports?.sourcePort, ports?.destinationPort], [source, destination], 'ports');
  };

export const keyIs =
  (key: number): Checker =>
  (packet) =>
    assert.equal(packet.gre?.key, key, 'GRE key');

export const innerIs =
  (...checkers: Checker[]): Checker =>
  (packet) => {
    assert.ok(packet.inner, 'the packet carries no inner packet');
    for (const checker of checkers) checker(packet.inner);
  };

/** Two frames side by side, 16 bytes a line, differing lines marked. */
export function hexdumpDiff(expected: Uint8Array, seen: Uint8Array): string {
  const lines: string[] = [];
  const row = (bytes: Uint8Array, at: number): string =>
    [...bytes.subarray(at, at + 16)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  for (let at = 0; at < Math.max(expected.length, seen.length); at += 16) {
    const [left, right] = [row(expected, at), row(seen, at)];
    lines.push(`${at.toString().padStart(5)} ${left === right ? ' ' : '≠'} ${left.padEnd(48)} | ${right}`);
  }
  return lines.join('\n');
}

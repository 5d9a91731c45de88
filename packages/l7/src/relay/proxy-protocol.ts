// PROXY protocol headers (haproxy.org proxy-protocol.txt, versions 1 and 2) for targets that want the client's address.
import net from 'node:net';

export type ProxyProtocol = 'off' | 'v1' | 'v2';

export interface Endpoints {
  readonly clientAddress: string;
  readonly clientPort: number;
  readonly vip: string;
  readonly vport: number;
}

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const VERSION_2_PROXY = 0x21;
const FAMILY_INET = 0x10;
const FAMILY_INET6 = 0x20;
const STREAM = 1;
const DATAGRAM = 2;

/** The header to send before the client's bytes. Empty when off. */
export function proxyHeader(version: ProxyProtocol, endpoints: Endpoints, transport: 'tcp' | 'udp' = 'tcp'): Buffer {
  const { clientAddress, clientPort, vip, vport } = endpoints;
  if (version === 'off') return Buffer.alloc(0);
  const isV6 = net.isIPv6(clientAddress);
  if (version === 'v1') {
    return Buffer.from(`PROXY TCP${isV6 ? 6 : 4} ${clientAddress} ${vip} ${clientPort} ${vport}\r\n`, 'latin1');
  }
  const bytes = isV6 ? 16 : 4;
  const header = Buffer.alloc(SIGNATURE.length + 4 + bytes * 2 + 4);
  SIGNATURE.copy(header);
  header[12] = VERSION_2_PROXY;
  header[13] = (isV6 ? FAMILY_INET6 : FAMILY_INET) | (transport === 'tcp' ? STREAM : DATAGRAM);
  header.writeUInt16BE(bytes * 2 + 4, 14);
  addressBytes(clientAddress).copy(header, 16);
  addressBytes(vip).copy(header, 16 + bytes);
  header.writeUInt16BE(clientPort, 16 + bytes * 2);
  header.writeUInt16BE(vport, 18 + bytes * 2);
  return header;
}

/** Network byte order of an address that `net.isIP` accepts. */
export function addressBytes(address: string): Buffer {
  if (net.isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  const bytes = Buffer.alloc(16);
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  let text = address;
  if (dotted !== null) {
    const tail = addressBytes(dotted[2]!);
    text = `${dotted[1]}${tail.readUInt16BE(0).toString(16)}:${tail.readUInt16BE(2).toString(16)}`;
  }
  const [left = '', right] = text.split('::');
  const groupsOf = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const before = groupsOf(left);
  const after = right === undefined ? [] : groupsOf(right);
  before.forEach((group, index) => bytes.writeUInt16BE(group, index * 2));
  after.forEach((group, index) => bytes.writeUInt16BE(group, 16 - (after.length - index) * 2));
  return bytes;
}

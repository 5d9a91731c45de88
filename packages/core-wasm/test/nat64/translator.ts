// NAT64 as a wasm of its own (assembly/nat64/entry.ts), compiled on the spot with assertions, and packets in the words of its RFCs.
import { main } from 'assemblyscript/asc';
import { addressBytes, ipPacket } from '../../../../tools/testkit/build.ts';
import { sum } from '../../../../tools/testkit/parse.ts';
import { type Nat64, type Nat64Options, type Nat64Result, createNat64 } from '../../src/nat64.ts';

let compiled: Promise<WebAssembly.Module> | undefined;

async function compile(): Promise<WebAssembly.Module> {
  let binary: Uint8Array<ArrayBuffer> | null = null;
  const base = new URL('../..', import.meta.url).pathname;
  const options = ['--baseDir', base, '--runtime', 'stub', '--importMemory', '--enable', 'simd', '--enable', 'threads'];
  const { error, stderr } = await main(['assembly/nat64/entry.ts', '-O1', '--outFile', 'nat64.wasm', ...options], {
    writeFile: (name, contents) => {
      if (name === 'nat64.wasm') binary = contents as Uint8Array<ArrayBuffer>;
    },
  });
  if (error !== null || binary === null) throw new Error(`nat64 does not compile: ${stderr.toString()}`);
  return WebAssembly.compile(binary);
}

export async function translator(
  options: { [K in keyof Nat64Options]?: Nat64Options[K] | undefined } = {},
): Promise<Nat64> {
  compiled ??= compile();
  return createNat64({ own4: '192.0.2.254', own6: '2001:db8::fe', ...options, module: await compiled } as Nat64Options);
}

/** The only packet of a result. */
export function only(result: Nat64Result): Buffer {
  if (result.packets.length !== 1)
    throw new Error(`${result.verdict} ${result.reason}: ${result.packets.length} packets`);
  return Buffer.from(result.packets[0] as Uint8Array);
}

/** An ICMP message; ipPacket fills the checksum of ICMPv6, this one that of ICMPv4. */
export function icmp(family: 4 | 6, type: number, code: number, rest: number, body: Uint8Array) {
  const bytes = Buffer.concat([Buffer.from([type, code, 0, 0]), Buffer.alloc(4), body]);
  bytes.writeUInt32BE(rest >>> 0, 4);
  if (family === 6) return { protocol: 58, bytes, checksumAt: 2 };
  bytes.writeUInt16BE(~sum(bytes) & 0xffff, 2);
  return { protocol: 1, bytes };
}

/** An IPv4 packet with header fields and options of the test's choice; the header checksum is right. */
export function ipv4(
  source: string,
  destination: string,
  payload: Parameters<typeof ipPacket>[2],
  fields: { tos?: number; id?: number; fragment?: number; ttl?: number; options?: Buffer } = {},
): Buffer {
  const packet = ipPacket(source, destination, payload, fields.ttl ?? 64);
  const options = fields.options ?? Buffer.alloc(0);
  const header = Buffer.concat([packet.subarray(0, 20), options]);
  header.writeUInt8(0x40 | (header.length / 4), 0);
  header.writeUInt8(fields.tos ?? 0, 1);
  header.writeUInt16BE(packet.length + options.length, 2);
  header.writeUInt16BE(fields.id ?? 0, 4);
  header.writeUInt16BE(fields.fragment ?? 0, 6);
  header.writeUInt16BE(0, 10);
  header.writeUInt16BE(~sum(header) & 0xffff, 10);
  return Buffer.concat([header, packet.subarray(20)]);
}

/** Puts extension headers between the IPv6 header and its payload: [number, bytes] each, first byte filled in. */
export function withExtensions(packet: Buffer, extensions: readonly (readonly [number, Buffer])[]): Buffer {
  const numbers = [...extensions.map(([number]) => number), packet.readUInt8(6)];
  const parts = extensions.map(([, bytes], index) =>
    Buffer.concat([Buffer.from([numbers[index + 1] as number]), bytes.subarray(1)]),
  );
  const all = Buffer.concat([packet.subarray(0, 40), ...parts, packet.subarray(40)]);
  all.writeUInt8(numbers[0] as number, 6);
  all.writeUInt16BE(all.length - 40, 4);
  return all;
}

export function fragmentHeader(offset: number, more: boolean, id: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16BE((offset & 0xfff8) | (more ? 1 : 0), 2);
  bytes.writeUInt32BE(id, 4);
  return bytes;
}

/** `64:ff9b::a.b.c.d` */
export const embedded = (address4: string): string => {
  const [a = 0, b = 0, c = 0, d = 0] = addressBytes(address4);
  return `64:ff9b::${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
};

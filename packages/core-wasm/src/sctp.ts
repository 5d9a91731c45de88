// SCTP (RFC 9260) as a library: CRC32c, its check, and other ports without reading the data again. Packets begin with
// the IP header.
import { PacketError } from './standalone.ts';
import { WORKBENCH_START, type Workbench, type WorkbenchOptions, openWorkbench } from './workbench.ts';

/** SCTP by itself (RFC 9260): CRC32c, its check, and other ports without reading the data again. */
export interface SctpTools {
  /** CRC32c (RFC 9260, appendix A) of at most 65,535 bytes: 0xe3069283 for "123456789". */
  crc32c(bytes: Uint8Array): number;
  /**
   * Whether the checksum of an SCTP packet is right. Throws a PacketError (Protocol) for anything but a whole SCTP
   * packet.
   */
  isChecksumValid(packet: Uint8Array): boolean;
  /** Whether the packet opens an association: an INIT, alone, with the tag 0 (RFC 9260, 8.5.1). Throws as above. */
  isInit(packet: Uint8Array): boolean;
  /**
   * The packet with other ports. The checksum is updated, not computed: a wrong one stays wrong, and none (0, RFC 9653)
   * stays none. Throws as above.
   */
  rewritePorts(packet: Uint8Array, ports: { readonly source?: number; readonly destination?: number }): Uint8Array;
}

const SCTP = 132;
const PACKET_MAX = 65_535;

/** The SCTP tools in an instance of their own. Rejects when the wasm does not compile. */
export async function createSctp(options: WorkbenchOptions = {}): Promise<SctpTools> {
  const bench = await openWorkbench(PACKET_MAX + 1, options);
  return {
    crc32c(bytes) {
      lay(bench, bytes);
      return bench.call('crc32c', WORKBENCH_START, bytes.length);
    },
    isChecksumValid: (packet) => bench.call('sctpIsChecksumValid', ...find(bench, packet)) === 1,
    isInit: (packet) => bench.call('sctpIsInit', ...find(bench, packet)) === 1,
    rewritePorts(packet, ports) {
      const [at, bytes] = find(bench, packet);
      const source = ports.source ?? bench.view.getUint16(at);
      bench.call('sctpRewritePorts', at, bytes, source, ports.destination ?? bench.view.getUint16(at + 2));
      return bench.bytes.slice(WORKBENCH_START, WORKBENCH_START + packet.length);
    },
  };
}

function lay(bench: Workbench, bytes: Uint8Array): void {
  if (bytes.length > PACKET_MAX) throw new RangeError(`At most ${PACKET_MAX} bytes`);
  bench.bytes.set(bytes, WORKBENCH_START);
}

/** Address of the SCTP header, and bytes from there to the end of the IP packet. */
function find(bench: Workbench, packet: Uint8Array): [at: number, bytes: number] {
  lay(bench, packet);
  const offset = bench.call('transportAt', WORKBENCH_START, packet.length, SCTP);
  if (offset === 0) throw new PacketError('Protocol', 'not one whole SCTP packet in IPv4 or IPv6');
  const isV4 = (packet[0] ?? 0) >> 4 === 4;
  const total = isV4 ? bench.view.getUint16(WORKBENCH_START + 2) : bench.view.getUint16(WORKBENCH_START + 4) + 40;
  return [WORKBENCH_START + offset, total - offset];
}

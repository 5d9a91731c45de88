/** SCTP (RFC 9260): the common header and the first chunk. The checksum is a CRC32c without a pseudo header. */
import { crc32cChange, crc32cState } from './crc32c';

const SOURCE_PORT: usize = 0;
const DESTINATION_PORT: usize = 2;
const VERIFICATION_TAG: usize = 4;
const CHECKSUM: usize = 8;
const CHUNK: usize = 12;
const CHUNK_LENGTH: usize = 14;
const CHUNK_BYTES: u32 = 4;
const PORT_BYTES: u32 = 2;

export const SCTP_BYTES: u32 = 12;
export const SCTP_DATA: u32 = 0;
export const SCTP_INIT: u32 = 1;
export const SCTP_INIT_ACK: u32 = 2;
export const SCTP_ABORT: u32 = 6;
export const SCTP_SHUTDOWN: u32 = 7;
export const SCTP_SHUTDOWN_ACK: u32 = 8;
export const SCTP_COOKIE_ECHO: u32 = 10;
export const SCTP_SHUTDOWN_COMPLETE: u32 = 14;

@unmanaged
export class Sctp {
  @inline static at(address: usize): Sctp { return changetype<Sctp>(address); }
  /** Must hold before any accessor is used. `bytes` reaches to the end of the IP packet, without padding. */
  @inline isWellFormed(bytes: u32): bool {
    if (bytes < SCTP_BYTES + CHUNK_BYTES) return false;
    const length = this.chunkBytes;
    return length >= CHUNK_BYTES && SCTP_BYTES + length <= bytes;
  }
  @inline get sourcePort(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), SOURCE_PORT)); }
  @inline get destinationPort(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), DESTINATION_PORT)); }
  @inline get verificationTag(): u32 { return bswap<u32>(load<u32>(changetype<usize>(this), VERIFICATION_TAG)); }
  /** As it lies: the CRC goes out lowest byte first (RFC 9260, appendix A). */
  @inline get checksum(): u32 { return load<u32>(changetype<usize>(this), CHECKSUM); }
  /** Type and length of the first chunk. */
  @inline get chunkType(): u32 { return load<u8>(changetype<usize>(this), CHUNK); }
  @inline get chunkBytes(): u32 { return bswap<u16>(load<u16>(changetype<usize>(this), CHUNK_LENGTH)); }
  /** Opens an association: INIT comes alone and with the tag 0 (RFC 9260, 8.5.1), or it is none. */
  @inline isInit(bytes: u32): bool {
    const padded = (SCTP_BYTES + this.chunkBytes + 3) & ~3;
    return this.chunkType == SCTP_INIT && this.verificationTag == 0 && padded >= bytes;
  }
  /** Ends an association: ABORT or SHUTDOWN COMPLETE. */
  @inline get isEnd(): bool { return this.chunkType == SCTP_ABORT || this.chunkType == SCTP_SHUTDOWN_COMPLETE; }
  @inline isChecksumValid(bytes: u32): bool { return this.checksum == this.sum(bytes); }

  /** Computes the checksum afresh; the last call when a packet is built. */
  @inline setChecksum(bytes: u32): void { store<u32>(changetype<usize>(this), this.sum(bytes), CHECKSUM); }
  /** The rewrites keep the checksum right, and a wrong one wrong. `bytes` as in `isWellFormed`. */
  @inline rewriteSourcePort(value: u32, bytes: u32): void { this.rewriteHalf(SOURCE_PORT, value, bytes); }
  @inline rewriteDestinationPort(value: u32, bytes: u32): void { this.rewriteHalf(DESTINATION_PORT, value, bytes); }

  /** RFC 9260, 6.8: the field itself counts as zeros. */
  private sum(bytes: u32): u32 {
    const at = changetype<usize>(this);
    let crc = crc32cState(0xffffffff, at, <u32>CHECKSUM);
    // The field: four zero bytes after a state are the bytes of the state after nothing.
    crc = crc32cChange(crc, 4, 0);
    return ~crc32cState(crc, at + CHUNK, bytes - SCTP_BYTES);
  }
  /** A checksum of 0 says that there is none (RFC 9653): it stays. */
  private rewriteHalf(offset: usize, value: u32, bytes: u32): void {
    const at = changetype<usize>(this) + offset;
    const raw = bswap<u16>(<u16>value);
    const difference = <u32>(load<u16>(at) ^ raw);
    store<u16>(at, raw);
    if (this.checksum == 0) return;
    const change = crc32cChange(difference, PORT_BYTES, bytes - <u32>offset - PORT_BYTES);
    store<u32>(changetype<usize>(this), this.checksum ^ change, CHECKSUM);
  }
}

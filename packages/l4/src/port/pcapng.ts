// Capture files on disk: frames gathered and written in pcapng blocks, which the core's library makes and reads (packages/core-wasm/src/pcap.ts).
import { closeSync, openSync, writeSync } from 'node:fs';
import { LinkType, pcapngHeader, pcapngInterface, pcapngPacket } from '@openclb/core-wasm';

export { LinkType, readCapture, type CapturedFrame } from '@openclb/core-wasm';

/** Frames are gathered to this many bytes before they are written. */
const FLUSH_BYTES = 65_536;

export interface PcapWriter {
  /** Writes one frame as seen on the named interface, at `nanoseconds` since 1970. */
  write(
    name: string,
    frame: Uint8Array,
    nanoseconds: bigint,
    more?: { readonly comments: readonly string[]; readonly direction: 'inbound' | 'outbound' },
  ): void;
  flush(): void;
  close(): void;
}

/** Opens a capture file. An interface block is written when a name appears for the first time. */
export function createPcapWriter(path: string, linkType: number = LinkType.Ethernet): PcapWriter {
  const fd = openSync(path, 'w');
  const interfaces = new Map<string, number>();
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  const flush = (): void => {
    if (waitingBytes > 0) writeSync(fd, Buffer.concat(waiting));
    waiting = [];
    waitingBytes = 0;
  };
  const put = (block: Uint8Array): void => {
    waiting.push(block);
    waitingBytes += block.length;
    if (waitingBytes >= FLUSH_BYTES) flush();
  };
  put(pcapngHeader({ application: 'openclb' }));
  return {
    write: (name, frame, nanoseconds, more) => {
      let number = interfaces.get(name);
      if (number === undefined) {
        number = interfaces.size;
        interfaces.set(name, number);
        put(pcapngInterface({ name, linkType }));
      }
      put(pcapngPacket(number, { frame, nanoseconds, ...more }));
    },
    flush,
    close: () => {
      flush();
      closeSync(fd);
    },
  };
}

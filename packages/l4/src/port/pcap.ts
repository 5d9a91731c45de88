// The pcap port: frames come from a capture file and go into another one. For offline trials: what would the balancer do with these packets?
import { readFileSync } from 'node:fs';
import { openCopyRing } from './copy-ring.ts';
import { createPcapWriter, readCapture } from './pcapng.ts';
import type { Port, PortOptions } from './port.ts';
import { describe, openState, PortKind } from './state.ts';

export { createPcapWriter, LinkType, type PcapWriter } from './pcapng.ts';

const BURST_MAX = 64;
const MTU_DEFAULT = 1500;

export function openPcap(options: PortOptions): Port {
  const { room, input, output } = options;
  if (input === undefined && output === undefined)
    throw new Error('a pcap port needs `input` or `output`, a capture file');
  const mtu = options.mtu ?? MTU_DEFAULT;
  const frames = input === undefined ? null : readCapture(readFileSync(input));
  const writer = output === undefined ? null : createPcapWriter(output);
  let next = frames?.next();
  const state = openState(room);
  const ring = openCopyRing(state, room);
  const mac = Uint8Array.of(2, 0, 0, 0, 1, options.index);
  describe(state, room, { kind: PortKind.Pcap, index: options.index, layer: 2, mtu, mac });
  let isClosed = false;
  return {
    kind: 'pcap',
    index: options.index,
    device: options.device,
    layer: 2,
    mac,
    mtu,
    fd: null,
    detail: 'pcap',
    refused: [],
    pending: () => !isClosed && next?.done === false,
    fill: () => {
      let count = 0;
      if (isClosed) return 0;
      while (count < BURST_MAX && next?.done === false) {
        const { frame, wireBytes } = next.value;
        // A file can wait: without room the frame stays where it is.
        const address = ring.reserve();
        if (address === 0) break;
        if (frame.length > ring.frameBytesMax || frame.length < wireBytes) {
          ring.refuse('rxTruncated');
        } else {
          state.bytes.set(frame, address);
          ring.commit(frame.length);
          count += 1;
        }
        next = frames?.next();
      }
      return count;
    },
    kick: () =>
      ring.drain((address, bytes) => {
        if (writer === null) return false;
        const now = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6));
        writer.write(options.device, state.bytes.slice(address, address + bytes), now);
        return true;
      }),
    steer: () => {},
    unsteer: () => {},
    statistics: () => state.counters(),
    close: () => {
      if (isClosed) return;
      isClosed = true;
      state.clear();
      writer?.close();
    },
  };
}

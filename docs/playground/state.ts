// The frame in hand, shared by all panels, and the core that every one of them asks.
import type { StandaloneCore } from '@openclb/core-wasm';
import { parseHex } from './hex.ts';
import { SAMPLES } from './samples.ts';

export interface Frame {
  readonly bytes: Uint8Array;
  /** LINKTYPE of the tcpdump registry. */
  readonly linkType: number;
}

export interface State {
  readonly core: StandaloneCore;
  readonly frame: Frame;
  setFrame(frame: Frame): void;
  /** The IP packet of the frame: from its first IP header to the end of that packet. Throws when it has none that the core accepts. */
  ipPacket(): Uint8Array;
  onFrame(listener: () => void): void;
}

export function createState(core: StandaloneCore): State {
  const listeners: (() => void)[] = [];
  const first = SAMPLES[0];
  let frame: Frame = { bytes: parseHex(first?.hex ?? ''), linkType: first?.linkType ?? 1 };
  return {
    core,
    get frame() {
      return frame;
    },
    setFrame: (next) => {
      frame = next;
      for (const listener of listeners) listener();
    },
    ipPacket: () => {
      const { layers } = core.dissect(frame.bytes, { linkType: frame.linkType });
      const layer = layers.find(({ protocol }) => protocol === 'ipv4' || protocol === 'ipv6');
      if (layer === undefined) throw new Error('The frame in the first panel holds no IP packet');
      return core.parse(frame.bytes.subarray(layer.offset), 3).packet;
    },
    onFrame: (listener) => void listeners.push(listener),
  };
}

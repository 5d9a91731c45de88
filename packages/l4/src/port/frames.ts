// Frames of the port suites: UDP packets that carry their own number.

/** A UDP packet to 203.0.113.1 that carries its number; layer 2 puts an Ethernet header in front. `bytes` counts the whole frame. */
export function frameOf(number: number, bytes: number, layer: 2 | 3): Uint8Array {
  const frame = new Uint8Array(bytes);
  const at = layer === 2 ? 14 : 0;
  for (let i = at + 24; i < bytes; i++) frame[i] = (number * 31 + i * 7) & 0xff;
  if (layer === 2) frame.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
  const view = new DataView(frame.buffer);
  frame.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 198, 51, 100, 1, 203, 0, 113, 1], at);
  view.setUint16(at + 2, bytes - at);
  view.setUint32(at + 20, number);
  return frame;
}

/** The number that frameOf wrote. */
export const numberOf = (frame: Uint8Array, layer: 2 | 3): number =>
  new DataView(frame.buffer, frame.byteOffset).getUint32(layer === 2 ? 34 : 20);

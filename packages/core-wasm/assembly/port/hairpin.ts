// The smallest walk there is: every frame goes out of the port it came from, or of another one, as it is or with its MACs swapped.
import { Verdict } from '../layout.gen';
import { clampBurst, recordAt, slab } from './state';

/** Marks `count` records for `portOut`; 256 means the port each came from. Swaps source and destination MAC if told to. */
export function hairpin(count: u32, portOut: u32, swapsMac: bool): void {
  const n = clampBurst(count);
  for (let i: u32 = 0; i < n; i++) {
    const packet = recordAt(i);
    packet.verdict = <u8>Verdict.Forward;
    if (portOut < 256) packet.portOut = <u8>portOut;
    if (!swapsMac || packet.length < 14) continue;
    const frame = slab(packet.address);
    const high = load<u32>(frame);
    const low = load<u16>(frame, 4);
    memory.copy(frame, frame + 6, 6);
    store<u32>(frame, high, 6);
    store<u16>(frame, low, 10);
  }
}

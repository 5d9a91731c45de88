// The source ports of full NAT (P18): one range on each local address, dealt out to the workers in blocks of 64, so that the port of a reply
// names the worker that has its flow.
import { PORT_BLOCK_SHIFT } from '../layout.gen';
import { bank, map, worker } from '../memory';

/** Number of the worker that may give this port away. */
export function ownerOfPort(port: u32): u32 { return (port >> PORT_BLOCK_SHIFT) % map.workers; }

/** A port of our own blocks, as even as the choice; 0 when the range ends before our next block begins. */
export function ownPort(choice: u32): u32 {
  const first = bank.poolFirst;
  const workers = map.workers;
  const any = first + choice % bank.poolPorts;
  const steps = (worker + workers - ownerOfPort(any)) % workers;
  const port = any + (steps << PORT_BLOCK_SHIFT);
  if (port < first + bank.poolPorts) return port;
  const round = workers << PORT_BLOCK_SHIFT;
  return port >= first + round ? port - round : 0;
}

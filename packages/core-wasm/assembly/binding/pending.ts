// The table of clients that have proved themselves and have no target yet (P26 (5), P27): rows by forward key, bounded, and the data
// that was kept of them, in blocks of one pool.
import {
  BindingState,
  FlowEntry,
  FlowFlag,
  FlowState,
  KEPT_BLOCK_BYTES,
  NONE,
  PENDING_ROW_BYTES,
  PacketRecord,
  PendingRow,
  PendingState,
} from '../layout.gen';
import { binding } from '../memory';
import { endFlow } from '../table/flow';
import { flowAt } from '../table/flow-index';

/** A block begins with the number of the next one + 1, or 0. */
const BLOCK_HEAD: u32 = 8;
const BLOCK_ROOM: u32 = KEPT_BLOCK_BYTES - BLOCK_HEAD;

export function pendingAt(row: u32): PendingRow {
  return PendingRow.at(<usize>binding.rows + <usize>row * PENDING_ROW_BYTES);
}

/** Number of the row of a forward key, or NONE. */
export function findPending(hash: u32, listener: u32, client: usize, clientPort: u32): u32 {
  let word = load<u32>(headOf(hash));
  while (word != 0) {
    const row = pendingAt(word - 1);
    const isSame = row.hash == hash && row.listener == listener && row.clientPort == <u16>clientPort;
    if (isSame && row.clientLow == load<u64>(client, 8) && row.clientHigh == load<u64>(client)) return word - 1;
    word = row.next;
  }
  return NONE;
}

function headOf(hash: u32): usize {
  return <usize>binding.heads + ((<usize>(hash & binding.headMask)) << 2);
}

/** A row in its chain, empty but for `hash`; NONE when all are in use. */
export function takePending(hash: u32): u32 {
  let number = binding.fresh;
  if (binding.free != 0) {
    number = binding.free - 1;
    binding.free = pendingAt(number).next;
  } else if (number < binding.rowsMax) binding.fresh = number + 1;
  else return NONE;
  const row = pendingAt(number);
  memory.fill(changetype<usize>(row), 0, PENDING_ROW_BYTES);
  row.hash = hash;
  row.flow = NONE;
  row.group = NONE;
  row.next = load<u32>(headOf(hash));
  store<u32>(headOf(hash), number + 1);
  binding.count += 1;
  return number;
}

/** Gives the row and all that was kept back. Its flow is the caller's. */
export function returnPending(number: u32): void {
  const row = pendingAt(number);
  let at = headOf(row.hash);
  while (load<u32>(at) != number + 1)
    at = changetype<usize>(pendingAt(load<u32>(at) - 1)) + offsetof<PendingRow>('next');
  store<u32>(at, row.next);
  forgetData(row);
  row.state = <u8>PendingState.Free;
  row.next = binding.free;
  binding.free = number + 1;
  binding.count -= 1;
}

/** The entry that this row has made: a full flow table may have given it to another connection. */
export function hasFlow(row: PendingRow): bool {
  if (row.flow == NONE) return false;
  const entry = flowAt(row.flow);
  const isSame = entry.forwardHash == row.hash && entry.listener == row.listener && entry.clientPort == row.clientPort;
  if (!isSame || (entry.flags & <u16>FlowFlag.Binding) == 0) return false;
  return entry.clientLow == row.clientLow && entry.clientHigh == row.clientHigh;
}

/** The walk has seen the flow of this packet; an earlier packet of the same burst may have ended it since. */
export function isStillThere(packet: PacketRecord): bool {
  const entry = flowAt(packet.flowSlot);
  return (
    entry.state != <u8>FlowState.Free && entry.listener == packet.listenerSlot && entry.target == packet.targetSlot
  );
}

/** An earlier packet of the same burst has handed the flow over: from then on the walk needs nobody's help. */
export function isHandedOver(packet: PacketRecord): bool {
  return (flowAt(packet.flowSlot).flags & <u16>FlowFlag.Binding) == 0;
}

/** Ends what there is of the connection on the side of the target. */
export function dropFlow(row: PendingRow): void {
  if (hasFlow(row)) endFlow(row.flow);
  row.flow = NONE;
}

function blockAt(number: u32): usize {
  return <usize>binding.blocks + <usize>number * KEPT_BLOCK_BYTES;
}

/** Keeps bytes behind those that are kept already. Returns how many; fewer when the pool has no block left. */
export function keep(row: PendingRow, from: usize, bytes: u32): u32 {
  let done: u32 = 0;
  while (done < bytes) {
    const used = row.kept % BLOCK_ROOM;
    if (used == 0 && !addBlock(row)) break;
    const count = min(bytes - done, BLOCK_ROOM - used);
    memory.copy(blockAt(row.lastBlock - 1) + BLOCK_HEAD + used, from + done, count);
    row.kept += count;
    done += count;
  }
  return done;
}

function addBlock(row: PendingRow): bool {
  let number = binding.blockFresh;
  if (binding.blockFree != 0) {
    number = binding.blockFree - 1;
    binding.blockFree = load<u32>(blockAt(number));
  } else if (number < binding.blocksMax) binding.blockFresh = number + 1;
  else return false;
  store<u32>(blockAt(number), 0);
  if (row.lastBlock == 0) row.firstBlock = number + 1;
  else store<u32>(blockAt(row.lastBlock - 1), number + 1);
  row.lastBlock = number + 1;
  return true;
}

/** Copies `bytes` kept bytes from `offset` on. The caller asks for no more than there are. */
export function copyKept(row: PendingRow, offset: u32, to: usize, bytes: u32): void {
  let word = row.firstBlock;
  let skip = offset;
  let done: u32 = 0;
  while (word != 0 && done < bytes) {
    if (skip < BLOCK_ROOM) {
      const count = min(bytes - done, BLOCK_ROOM - skip);
      memory.copy(to + done, blockAt(word - 1) + BLOCK_HEAD + skip, count);
      done += count;
      skip = 0;
    } else skip -= BLOCK_ROOM;
    word = load<u32>(blockAt(word - 1));
  }
}

function forgetData(row: PendingRow): void {
  if (row.lastBlock != 0) {
    store<u32>(blockAt(row.lastBlock - 1), binding.blockFree);
    binding.blockFree = row.firstBlock;
  }
  row.firstBlock = 0;
  row.lastBlock = 0;
}

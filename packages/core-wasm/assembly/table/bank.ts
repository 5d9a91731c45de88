// The flip (P11): the main thread writes the standby bank and raises the generation word; a worker adopts it between bursts and
// acknowledges. A bank is rewritten only when every worker has left it.
import { ControlBlock, WorkerMap, WorkerState } from '../layout.gen';
import { bank, control, flowsMax, map, readOnly, setBank, state, wrr } from '../memory';

/** Takes the newest bank. Returns its generation; 0 before the first image. */
export function adopt(): u32 {
  const newest = atomic.load<u32>(changetype<usize>(control), offsetof<ControlBlock>('generation'));
  if (newest != state.adopted || readOnly) {
    setBank(newest);
    // Members move when groups change, so the weights of the old image would count for strangers: all start afresh.
    if (newest != state.adopted) memory.fill(wrr, 0, <usize>map.membersMax << 2);
    atomic.store<u32>(changetype<usize>(state), newest, offsetof<WorkerState>('adopted'));
  }
  if (readOnly) shareKeys();
  else if (newest != 0 && bank.accessEpoch != state.accessEpoch) {
    state.accessEpoch = bank.accessEpoch;
    // From wherever the sweep is, once around.
    state.accessLeft = min(state.flowFresh, flowsMax);
  }
  state.heartbeat += 1;
  return newest;
}

/** The explaining instance looks flows up that the first worker has hashed. */
function shareKeys(): void {
  const first = WorkerState.at(WorkerMap.at(map.workerMaps).state);
  state.sipKey0 = first.sipKey0;
  state.sipKey1 = first.sipKey1;
}

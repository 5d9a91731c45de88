// Scratch of delayed binding, behind the head of its region: the options of a segment, and a segment to be written.
import { Segment, TcpView } from '../layout.gen';
import { binding } from '../memory';

const VIEW: usize = 192;
const SEGMENT: usize = 224;

/** BindingState is followed by 96 bytes of room: src/plan.ts. */
export function viewOf(): TcpView {
  return TcpView.at(changetype<usize>(binding) + VIEW);
}
export function segmentOf(): Segment {
  return Segment.at(changetype<usize>(binding) + SEGMENT);
}

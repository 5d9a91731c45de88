// Buffering of request bodies by rule (E4 proxy_request_buffering): a slow client costs a buffer here and nothing at a target.
import type { Exchange } from '../state.ts';

/** Of one request; a longer body streams from there on. */
export const HOLD_BYTES_MAX = 1024 * 1024;

/** True: no target is asked before the body is complete, or longer than what is kept. To be called before the head is rewritten. */
export function holdBody(exchange: Exchange): void {
  if (exchange.isRequestDone || exchange.rule!.policy?.buffersRequest !== true) return;
  exchange.isHolding = true;
  if (!exchange.expectsContinue) return;
  // Nobody else would tell the client to go on.
  exchange.expectsContinue = false;
  exchange.downstream.write('HTTP/1.1 100 Continue\r\n\r\n');
}

/** What came is enough to ask a target. */
export function isHeld({ heldBytes, isRequestDone }: Exchange): boolean {
  return isRequestDone || heldBytes >= HOLD_BYTES_MAX;
}

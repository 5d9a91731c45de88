// Who answers the SYNs of a listener now (P26): the question that the walk asks before it makes a flow.
import { BINDING_LISTENER_BYTES, BindingListener, Handshake, ListenerRow } from '../layout.gen';
import { bindingListeners } from '../memory';
import { TCP_ACK, TCP_SYN } from '../wire/tcp';

/** Values of BindingListener.active. */
export const INACTIVE: u32 = 0;
export const LEFT: u32 = 1;
export const ACTIVE: u32 = 2;

export function bindingListenerAt(slot: u32): BindingListener {
  return BindingListener.at(bindingListeners + <usize>slot * BINDING_LISTENER_BYTES);
}

/** True when delayed binding has to look at a TCP packet without a flow. For a while after `auto` has left, cookies still come. */
export function bindsItself(slot: u32, listener: ListenerRow, flags: u32): bool {
  if (listener.handshake != <u8>Handshake.Auto) return true;
  const active = bindingListenerAt(slot).active;
  return active == ACTIVE || (active == LEFT && (flags & (TCP_SYN | TCP_ACK)) == TCP_ACK);
}

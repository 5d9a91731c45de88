// Binding and session tables of the stateful translator (RFC 6146, 3.1): rows of fixed number, chained by multilinear hashes with random keys.
import {
  NAT64_BINDING_BYTES,
  NAT64_PEER_SESSIONS_MAX,
  NAT64_SESSION_BYTES,
  NAT64_SUBSCRIBER_BYTES,
  Nat64Binding,
  Nat64Reason,
  Nat64Session,
  Nat64State,
  Nat64Subscriber,
  Nat64Tables,
  Nat64Tcp,
} from '../layout.gen';
import { copyAddress, isSameAddress } from '../wire/ipv6';

export function tablesOf(n: Nat64State): Nat64Tables {
  return Nat64Tables.at(n.tables);
}
export function bindingAt(t: Nat64Tables, row: u32): Nat64Binding {
  return Nat64Binding.at(<usize>t.bindings + row * NAT64_BINDING_BYTES);
}
export function sessionAt(t: Nat64Tables, row: u32): Nat64Session {
  return Nat64Session.at(<usize>t.sessions + row * NAT64_SESSION_BYTES);
}

/** Strongly universal over five words (Carter and Wegman; Dietzfelbinger): one multiplication each. */
export function hash6(t: Nat64Tables, address: usize, port: u32, protocol: u32): u32 {
  const high = load<u64>(address);
  const low = load<u64>(address, 8);
  const sum =
    t.key0 * (high & 0xffffffff) +
    t.key1 * (high >> 32) +
    t.key2 * (low & 0xffffffff) +
    t.key3 * (low >> 32) +
    t.key4 * <u64>((protocol << 16) | port);
  return <u32>(sum >> 32);
}

function subscriberAt(t: Nat64Tables, row: u32): Nat64Subscriber {
  return Nat64Subscriber.at(<usize>t.subscribers + row * NAT64_SUBSCRIBER_BYTES);
}

function chain6(t: Nat64Tables, address: usize, port: u32, protocol: u32): usize {
  return <usize>t.index6 + ((hash6(t, address, port, protocol) & t.bindingMask) << 2);
}
function chain4(t: Nat64Tables, raw: u32, port: u32, protocol: u32): usize {
  const hash = <u32>((t.key0 * <u64>raw + t.key1 * <u64>((protocol << 16) | port) + t.key2) >> 32);
  return <usize>t.index4 + ((hash & t.bindingMask) << 2);
}
/** The port of the peer is left out, so that address-dependent filtering finds its answer in the same chain. */
function chainSession(t: Nat64Tables, binding: u32, peer: u32): usize {
  const hash = <u32>((t.key3 * <u64>binding + t.key4 * <u64>peer + t.key2) >> 32);
  return <usize>t.indexSession + ((hash & t.sessionMask) << 2);
}

/** Row of the binding of (X’, x), or 0. */
export function findBinding6(t: Nat64Tables, address: usize, port: u32, protocol: u32): u32 {
  let row = load<u32>(chain6(t, address, port, protocol));
  while (row != 0) {
    const binding = bindingAt(t, row);
    if (<u32>binding.port6 == port && <u32>binding.protocol == protocol && isSameAddress(binding.address, address))
      return row;
    row = binding.next6;
  }
  return 0;
}

/** Row of the binding of (T, t), or 0. */
export function findBinding4(t: Nat64Tables, raw: u32, port: u32, protocol: u32): u32 {
  let row = load<u32>(chain4(t, raw, port, protocol));
  while (row != 0) {
    const binding = bindingAt(t, row);
    if (<u32>binding.port4 == port && binding.local == raw && <u32>binding.protocol == protocol) return row;
    row = binding.next4;
  }
  return 0;
}

/** Why the last `addBinding` or `addSession` gave no row. */
export let fullReason: Nat64Reason = Nat64Reason.None;

/** 0 when the table is full or the subscriber has its share; `fullReason` says which. (T, t) must be free. */
export function addBinding(t: Nat64Tables, address: usize, port6: u32, raw: u32, port4: u32, protocol: u32): u32 {
  const subscriber = t.subscribers == 0 ? 0 : subscriberOf(t, address);
  fullReason = Nat64Reason.SubscriberLimit;
  if (subscriber != 0 && subscriberAt(t, subscriber).bindings >= t.subscriberBindings) return 0;
  fullReason = Nat64Reason.BindingsFull;
  let row = t.bindingFree;
  if (row != 0) t.bindingFree = bindingAt(t, row).next6;
  else if (t.bindingNext < t.bindingsMax) {
    row = t.bindingNext;
    t.bindingNext = row + 1;
  } else {
    if (subscriber != 0) dropSubscriber(t, subscriber);
    return 0;
  }
  if (subscriber != 0) subscriberAt(t, subscriber).bindings += 1;
  const binding = bindingAt(t, row);
  copyAddress(binding.address, address);
  binding.local = raw;
  binding.sessions = 0;
  binding.port6 = <u16>port6;
  binding.port4 = <u16>port4;
  binding.protocol = <u8>protocol;
  binding.isStatic = 0;
  binding.subscriber = subscriber;
  const at6 = chain6(t, address, port6, protocol);
  binding.next6 = load<u32>(at6);
  store<u32>(at6, row);
  const at4 = chain4(t, raw, port4, protocol);
  binding.next4 = load<u32>(at4);
  store<u32>(at4, row);
  t.bindingsUsed += 1;
  t.bindingsMade += 1;
  return row;
}

export function removeBinding(t: Nat64Tables, row: u32): void {
  const binding = bindingAt(t, row);
  const protocol = <u32>binding.protocol;
  const at6 = chain6(t, binding.address, binding.port6, protocol);
  if (load<u32>(at6) == row) store<u32>(at6, binding.next6);
  else {
    let before = bindingAt(t, load<u32>(at6));
    while (before.next6 != row) before = bindingAt(t, before.next6);
    before.next6 = binding.next6;
  }
  const at4 = chain4(t, binding.local, binding.port4, protocol);
  if (load<u32>(at4) == row) store<u32>(at4, binding.next4);
  else {
    let before = bindingAt(t, load<u32>(at4));
    while (before.next4 != row) before = bindingAt(t, before.next4);
    before.next4 = binding.next4;
  }
  if (binding.subscriber != 0) {
    subscriberAt(t, binding.subscriber).bindings -= 1;
    dropSubscriber(t, binding.subscriber);
  }
  binding.next6 = t.bindingFree;
  t.bindingFree = row;
  t.bindingsUsed -= 1;
}

/** How many sessions with this peer the last `findSession` passed: 0 means that it was never spoken to. */
export let peerSessions: u32 = 0;

/** Row of the session, or 0. */
export function findSession(t: Nat64Tables, binding: u32, peer: u32, port: u32): u32 {
  peerSessions = 0;
  let row = load<u32>(chainSession(t, binding, peer));
  while (row != 0) {
    const session = sessionAt(t, row);
    if (session.binding == binding && session.peer == peer) {
      peerSessions += 1;
      if (<u32>session.peerPort == port) return row;
    }
    row = session.next;
  }
  return 0;
}

/** 0 when the table is full, the subscriber has its share, or there are too many between the two; call it right after `findSession`. */
export function addSession(t: Nat64Tables, binding: u32, peer: u32, port: u32): u32 {
  const subscriber = bindingAt(t, binding).subscriber;
  fullReason = Nat64Reason.SubscriberLimit;
  if (subscriber != 0 && subscriberAt(t, subscriber).sessions >= t.subscriberSessions) return 0;
  fullReason = Nat64Reason.SessionsFull;
  if (peerSessions >= NAT64_PEER_SESSIONS_MAX) return 0;
  let row = t.sessionFree;
  if (row != 0) t.sessionFree = sessionAt(t, row).next;
  else if (t.sessionNext < t.sessionsMax) {
    row = t.sessionNext;
    t.sessionNext = row + 1;
  } else return 0;
  const session = sessionAt(t, row);
  session.binding = binding;
  session.peer = peer;
  session.peerPort = <u16>port;
  session.isProbed = 0;
  if (subscriber != 0) subscriberAt(t, subscriber).sessions += 1;
  const at = chainSession(t, binding, peer);
  session.next = load<u32>(at);
  store<u32>(at, row);
  bindingAt(t, binding).sessions += 1;
  t.sessionsUsed += 1;
  t.sessionsMade += 1;
  return row;
}

/** The last session takes its binding with it. */
export function removeSession(t: Nat64Tables, row: u32): void {
  const session = sessionAt(t, row);
  const at = chainSession(t, session.binding, session.peer);
  if (load<u32>(at) == row) store<u32>(at, session.next);
  else {
    let before = sessionAt(t, load<u32>(at));
    while (before.next != row) before = sessionAt(t, before.next);
    before.next = session.next;
  }
  session.state = <u8>Nat64Tcp.Free;
  const subscriber = bindingAt(t, session.binding).subscriber;
  if (subscriber != 0) subscriberAt(t, subscriber).sessions -= 1;
  session.next = t.sessionFree;
  t.sessionFree = row;
  t.sessionsUsed -= 1;
  dropUnused(t, session.binding);
}

export function dropUnused(t: Nat64Tables, row: u32): void {
  const binding = bindingAt(t, row);
  if (binding.sessions != 0) binding.sessions -= 1;
  if (binding.sessions == 0 && binding.isStatic == 0) removeBinding(t, row);
}

/** Bits of one half of an address that belong to a prefix of so many bits, as they lie in memory. */
function maskOf(bits: u32): u64 {
  return bits >= 64 ? u64.MAX_VALUE : bits == 0 ? 0 : bswap<u64>(~(u64.MAX_VALUE >> bits));
}

function chainSubscriber(t: Nat64Tables, high: u64, low: u64): usize {
  const sum = t.key1 * (high & 0xffffffff) + t.key2 * (high >> 32) + t.key3 * (low & 0xffffffff) + t.key4 * (low >> 32);
  return <usize>t.indexSubscriber + ((<u32>(sum >> 32) & t.bindingMask) << 2);
}

/** The subscriber of an address, made when there is none. There are as many rows as bindings, so one is always free. */
function subscriberOf(t: Nat64Tables, address: usize): u32 {
  const bits = t.subscriberBits;
  const high = load<u64>(address) & maskOf(bits);
  const low = load<u64>(address, 8) & maskOf(bits > 64 ? bits - 64 : 0);
  const chain = chainSubscriber(t, high, low);
  let row = load<u32>(chain);
  while (row != 0) {
    const found = subscriberAt(t, row);
    if (load<u64>(found.prefix) == high && load<u64>(found.prefix, 8) == low) return row;
    row = found.next;
  }
  row = t.subscriberFree;
  if (row != 0) t.subscriberFree = subscriberAt(t, row).next;
  else {
    row = t.subscriberNext;
    t.subscriberNext = row + 1;
  }
  const made = subscriberAt(t, row);
  store<u64>(made.prefix, high);
  store<u64>(made.prefix, low, 8);
  made.bindings = 0;
  made.sessions = 0;
  made.next = load<u32>(chain);
  store<u32>(chain, row);
  return row;
}

/** Gives the row back when nothing refers to it. */
function dropSubscriber(t: Nat64Tables, row: u32): void {
  const gone = subscriberAt(t, row);
  if (gone.bindings != 0) return;
  const chain = chainSubscriber(t, load<u64>(gone.prefix), load<u64>(gone.prefix, 8));
  if (load<u32>(chain) == row) store<u32>(chain, gone.next);
  else {
    let before = subscriberAt(t, load<u32>(chain));
    while (before.next != row) before = subscriberAt(t, before.next);
    before.next = gone.next;
  }
  gone.next = t.subscriberFree;
  t.subscriberFree = row;
}

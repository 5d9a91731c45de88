// What a NAT64 translator can be told (docs/reference/nat64.md): shapes, units, defaults. src/nat64-memory.ts checks them.

/** The compiled nat64.wasm: a `WebAssembly.Module`. */
export type Nat64Module = object;

/** An explicit address mapping (RFC 7757): the same number of suffix bits on both sides, or more on the IPv6 side. */
export interface Nat64Mapping {
  /** As `192.0.2.0/24`. */
  readonly prefix4: string;
  /** As `2001:db8:46::/120`. */
  readonly prefix6: string;
}

/** Idle times in milliseconds after which state is forgotten (RFC 6146, section 4); a value below its minimum is a RangeError. */
export interface Nat64Lifetimes {
  /** UDP; 300,000 by default, 120,000 at least (RFC 4787, REQ-5). */
  readonly udp?: number;
  /** TCP that opens or closes; 240,000 by default and at least (RFC 5382, REQ-5). */
  readonly tcpTransitory?: number;
  /** Established TCP; 7,440,000 by default and at least. */
  readonly tcpEstablished?: number;
  /** ICMP queries; 60,000 by default and at least (RFC 5508, REQ-2). */
  readonly icmp?: number;
  /** Fragments that wait for each other; 2,000 by default and at least. */
  readonly fragment?: number;
}

/** What one subscriber may have (RFC 6888, REQ-4); the next binding or session is refused with address unreachable. */
export interface Nat64Share {
  /** Length of the IPv6 prefix that is one subscriber; 64 by default. */
  readonly prefixBits?: number;
  /** Most bindings, which is external ports; no limit but the table by default. */
  readonly bindings?: number;
  /** Most sessions; no limit but the table by default. */
  readonly sessions?: number;
}

/** A stateful translator (RFC 6146). */
export interface PoolOptions {
  /** IPv4 addresses of the translator, 1 to 256; nobody else may answer for them. */
  readonly pool: readonly string[];
  /** Ports of each of them; 1024 to 65535 by default. */
  readonly ports?: readonly [first: number, last: number];
  /** Most bindings (3.1, BIB entries); 65,536 by default, 16,777,216 at most. */
  readonly bindings?: number;
  /** Most sessions (3.1, STEs); twice the bindings by default, 16,777,216 at most. */
  readonly sessions?: number;
  /** Limits of one subscriber; none by default. */
  readonly perSubscriber?: Nat64Share;
  /** Who may answer to a binding (3.5): everybody (default), or addresses that it has spoken to. */
  readonly filtering?: 'endpoint-independent' | 'address-dependent';
  /** Drops TCP connections that the IPv4 side opens (3.5.2.2). */
  readonly refuseInbound?: boolean;
  readonly lifetimes?: Nat64Lifetimes;
}

/** Options of `createNat64`; every one may be left out. */
export interface Nat64Options {
  /** Prefix that IPv4 hosts have in IPv6, with length 32, 40, 48, 56, 64 or 96 (RFC 6052, 2.2); `64:ff9b::/96` by default. */
  readonly prefix?: string;
  /** Stateless: prefix of the IPv4-translatable addresses of the IPv6 hosts; the same one by default. */
  readonly localPrefix?: string;
  /** Source of the ICMPv6 errors (RFC 7915, 5.4); none are sent without it. */
  readonly own6?: string;
  /** Source of the ICMPv4 errors (RFC 7915, 4.4), and of errors of IPv6 routers without an IPv4 address (RFC 6791); none are sent without it. */
  readonly own4?: string;
  /** ICMP errors of our own in a second, and at once (RFC 4443, 2.4 (f)); 1 to 1,000,000, no limit by default. Needs the time of each call. */
  readonly errorsPerSecond?: number;
  /** MTU of the IPv6 next hop in bytes; 1500 by default, 1280 at least. */
  readonly mtu6?: number;
  /** MTU of the IPv4 next hop in bytes; 1500 by default, 68 at least. */
  readonly mtu4?: number;
  /**
   * IPv4 packets without DF are fragmented to this many bytes (RFC 7915, 4.1, lowest-ipv6-mtu); 1280 by default, more where the whole
   * IPv6 network is known to take it.
   */
  readonly lowestMtu6?: number;
  /** Lets private IPv4 addresses pass behind the well-known prefix (RFC 6052, 3.1 forbids it). */
  readonly allowNonGlobal?: boolean;
  /**
   * UDP over IPv4 without a checksum (RFC 7915, 4.5): `compute` one (default) or `drop`. Of a datagram in fragments it is computed by a
   * stateful translator only (RFC 6146, 3.4).
   */
  readonly zeroChecksum?: 'compute' | 'drop';
  /** TOS and traffic class: `copy` (default) or `zero`. */
  readonly trafficClass?: 'copy' | 'zero';
  /** Stateless: explicit address mappings (RFC 7757), 256 at most; they go before the prefixes. */
  readonly mappings?: readonly Nat64Mapping[];
  /**
   * Packets between two mapped hosts (RFC 7757, section 4): turned round here (`intrinsic`, default), sent on to the IPv4 side and told
   * apart when they come back (`simple`), or neither (`off`).
   */
  readonly hairpinning?: 'intrinsic' | 'simple' | 'off';
  /** Makes the translator stateful (RFC 6146). */
  readonly stateful?: PoolOptions;
  /** The compiled nat64.wasm, where it does not come from the package. */
  readonly module?: Nat64Module;
}

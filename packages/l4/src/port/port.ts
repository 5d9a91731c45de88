// What a port is: one device (or file, or test double) that moves frames in and out of the core's linear memory.
// The core receives and transmits by itself (core-wasm assembly/port); a port sets its rings up and makes the system calls.

/** In the order in which `auto` tries the first three. */
export const PORT_KINDS = ['xdp', 'packet', 'tun', 'memory', 'pcap'] as const;
export type PortKindName = (typeof PORT_KINDS)[number];

/** The part of WebAssembly.Memory that ports need; fixed size and shared, so a view over it never detaches. */
export interface LinearMemory {
  readonly buffer: ArrayBufferLike;
}

/** The places in linear memory that the memory plan gave to one port. */
export interface PortRoom {
  readonly memory: LinearMemory;
  /** Linear address of its PortState record. */
  readonly state: number;
  /** Linear address of its area for rings and lists: page-aligned, PORT_AREA_BYTES long. */
  readonly area: number;
  /** Linear address of the slab; page-aligned. */
  readonly slab: number;
  /** First byte of the port's chunks, relative to the slab; page-aligned. */
  readonly arena: number;
  /** Chunks of 2,048 bytes in the arena: a power of two, 64 to 16,384. */
  readonly chunks: number;
}

/**
 * Which IP protocols of a steered destination belong to the core; everything else stays with the kernel. `Source`: what comes from there
 * belongs to the core, whatever its destination, unless that is steered itself (P41). `Kernel`: never the core's, whoever sends.
 * A packet port with a filter looks at destinations only.
 */
export const Steer = { Other: 1, Gre: 2, Ipip: 4, Ip6InIp: 8, All: 15, Tunnel: 14, Source: 16, Kernel: 32 } as const;

export interface Port {
  readonly kind: PortKindName;
  readonly index: number;
  readonly device: string;
  readonly layer: 2 | 3;
  readonly mac: Uint8Array | null;
  readonly mtu: number;
  /** For poll; null where nothing can be waited for. */
  readonly fd: number | null;
  /** How it runs, for `status`: 'xdp native copy', 'packet v2', … */
  readonly detail: string;
  /** Kinds that `auto` tried first, and why each was refused. */
  readonly refused: ReadonlyArray<{ readonly kind: PortKindName; readonly why: string }>;
  /** Frames wait where poll cannot see them: memory and pcap ports. */
  pending(): boolean;
  /** Pulls frames from outside the linear memory into the core's copy ring (tun, memory, pcap); no-op for ring ports. */
  fill(): number;
  /** Sends what the core's transmit queued, by one system call where possible. Returns the frames handed over. */
  kick(): number;
  /** Takes traffic for a prefix (16 bytes, IPv4 as ::ffff:a.b.c.d with 96 + n bits) away from the kernel. Steer bits say which. */
  steer(prefix: Uint8Array, bits: number, protocols: number): void;
  unsteer(prefix: Uint8Array, bits: number): void;
  /** Kernel-side drops included (XDP_STATISTICS, PACKET_STATISTICS). */
  statistics(): Record<string, number>;
  close(): void;
}

/** What the other end of a `memory` port does: the test, or another port. */
export interface MemoryWire {
  /** Frames on their way to the core. */
  readonly toCore: Uint8Array[];
  /** Called with a copy of each frame that the core sent. */
  fromCore(frame: Uint8Array): void;
}

export interface PortOptions {
  readonly kind: PortKindName | 'auto';
  readonly index: number;
  /** Device name; for pcap and memory a label. */
  readonly device: string;
  readonly room: PortRoom;
  /** Path of a network namespace (/run/netns/x) in which the device lives; the caller's own otherwise. */
  readonly netns?: string;
  /** xdp: receive queue, 0 by default. */
  readonly queue?: number;
  /** xdp: native (driver) first and SKB mode then, unless one is named. */
  readonly mode?: 'auto' | 'native' | 'skb';
  /** packet: hand over only steered destinations. Without it every frame of the device comes in. */
  readonly steered?: boolean;
  /** packet: keep the kernel from answering tunnel packets with "protocol unreachable" (P1). */
  readonly silence?: boolean;
  /** Leave checksum and segmentation offloads of the device as they are; they are switched off otherwise (P37). */
  readonly keepOffloads?: boolean;
  /** memory: the other end. */
  readonly wire?: MemoryWire;
  /** pcap: file to read frames from, file to write sent frames to. */
  readonly input?: string;
  readonly output?: string;
  /** tun: address with prefix length to set on the device, e.g. 100.112.0.0/32; tun and memory: MTU. */
  readonly mtu?: number;
  /** memory: 2 by default. */
  readonly layer?: 2 | 3;
}

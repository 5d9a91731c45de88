// Records of the endpoint (data-plane.md P7, P20–P23, P28): its image tables, of which there are two banks, and its return memory.
import { enumeration, valuesOf } from './enumeration.ts';
import { record } from './record.ts';

export const endpointKindEnum = enumeration(
  'EndpointKind',
  'What a row of the endpoint’s table says about its key (net, address, port, protocol).',
  {
    Empty: [0, 'Not in use; ends a probe.'],
    Vm: [1, '(net, address) is a VM here: device and link address.'],
    Place: [2, '(net, address) lives behind the host in value: the VPC map.'],
    InternalVip: [3, '(net, address) is a VIP inside the VPC: to a director.'],
    Registered: [4, '(net, address, port, protocol) is a target: its replies go to a director.'],
    Source: [5, '(address) is this proxy’s own address in the VPC named by link (P21).'],
    Director: [6, '(outer source) is a tunnel address or E: its packets teach the return memory.'],
    Trusted: [7, '(outer source) is a host or a proxy of the cluster.'],
    Physical: [8, '(address) is this machine itself as a target (P23).'],
    LocalVip: [9, '(address) is a VIP that this proxy terminates (P20).'],
    Underlay: [10, '(address) is an underlay address of this machine: tunnels end here.'],
    Left: [11, '(net, address) was a VM here; link says until when. What arrives follows it (P7.6).'],
  },
);
export const EndpointKind = valuesOf(endpointKindEnum);

export const endpointFlagEnum = enumeration('EndpointFlag', 'Bits of the flags of an endpoint row.', {
  HasEip: [1, 'Vm: what it starts itself leaves towards E (P28).'],
});
export const EndpointFlag = valuesOf(endpointFlagEnum);

export const endpointLimits = {
  /** Index of the port that faces the underlay. */
  UPLINK: 0,
  /** No inside device. */
  NO_PORT: 65535,
  /** Tunnel addresses of directors: rendezvous looks at each of them. */
  ENDPOINT_TUNNELS_MAX: 1024,
  /** Return memory: entries that one lookup looks at. */
  RETURN_WAYS: 8,
  /** Longer than the idle time of any director, or the memory would forget a flow that the director still has (P7). */
  RETURN_IDLE_MS: 900_000,
  /** What still arrives for a VM that has left follows it for so long (P7.6). */
  LEFT_MS: 60_000,
  /** The rows of a bank are never fuller than this many eighths. */
  ENDPOINT_FILL_EIGHTHS: 6,
} as const;

export const EndpointBank = record(
  'EndpointBank',
  256,
  'First bytes of a bank of the endpoint. Port rows, tunnel rows and the table follow.',
  {
    generation: ['u32', 'Generation of this bank.'],
    slots: ['u32', 'Slots of the table.'],
    rows: ['u32', 'Rows in use.'],
    tunnels: ['u32', 'Tunnel rows in use.'],
    ports: ['u32', 'Linear address of the EndpointPorts, PORTS_MAX of them.'],
    tunnelRows: ['u32', 'Linear address of the EndpointTunnels.'],
    table: ['u32', 'Linear address of the EndpointRows.'],
    insidePort: ['u32', 'Port of the inside device, or NO_PORT.'],
    underlay4: ['bytes16', 'Own underlay IPv4 address, or zeros.'],
    underlay6: ['bytes16', 'Own underlay IPv6 address, or zeros.'],
    anycast4: ['bytes16', 'E over IPv4, or zeros.'],
    anycast6: ['bytes16', 'E over IPv6, or zeros.'],
    gateway4: ['bytes16', 'Source of our ICMP errors to VMs.'],
    gateway6: ['bytes16', 'Source of our ICMPv6 errors to VMs.'],
    gatewayMac: ['bytes6', 'Link address of the gateway towards every VM.'],
    insideMac: ['bytes6', 'Link address of the kernel’s end of an inside device with link headers.'],
  },
);

export const EndpointPort = record('EndpointPort', 16, 'The VM behind a port.', {
  net: ['u32', 'VPC id of the VM.'],
  mac: ['bytes6', 'Its link address.'],
  isVm: ['u16', '1: a VM is behind this port.'],
});

export const EndpointTunnel = record('EndpointTunnel', 40, 'A tunnel address of a director, for rendezvous.', {
  v4: ['bytes16', 'IPv4, or zeros.'],
  v6: ['bytes16', 'IPv6, or zeros.'],
  seed: ['u32', 'Hash of director and worker: its voice in the rendezvous.'],
});

export const EndpointRow = record(
  'EndpointRow',
  64,
  'A row of the endpoint’s table: open addressing, linear probing.',
  {
    address: ['bytes16', 'Address of the key.'],
    value: ['bytes16', 'Place: underlay address of the host.'],
    net: ['u32', 'Net of the key.'],
    hash: ['u32', 'Hash of the key.'],
    port: ['u16', 'Port of the key, or 0.'],
    protocol: ['u8', 'Protocol of the key, or 0.'],
    kind: ['u8', 'EndpointKind.'],
    mac: ['bytes6', 'Vm: link address.'],
    device: ['u16', 'Vm: index of its port.'],
    link: ['u32', 'Source: the VPC id that it names. Left: ms of the clock.'],
    flags: ['u32', 'EndpointFlag bits.'],
  },
);

export const EndpointState = record(
  'EndpointState',
  128,
  'Head of the endpoint’s own region: the return memory follows.',
  {
    sets: ['u32', 'Sets of RETURN_WAYS entries.'],
    seed: ['u32', 'Seed of its hash: random, so nobody outside can aim at one set.'],
    entries: ['u32', 'Linear address of the first entry.'],
    tokens: ['u32', 'ICMP errors that may still be sent.'],
    tokensMs: ['u32', 'When the tokens were filled last.'],
    adopted: ['u32', 'Generation in use.'],
    remembered: ['u64', 'Entries written for the first time.'],
    evicted: ['u64', 'Entries that a newer one pushed out before their time.'],
    recalledExact: ['u64', 'Packets that left by the exact memory.'],
    recalledCoarse: ['u64', 'Packets that left by the coarse memory.'],
    rendezvous: ['u64', 'Packets that left to a director by rendezvous.'],
    eastWest: ['u64', 'Packets from VM to VM of one VPC.'],
    stateless: ['u64', 'Packets to E.'],
    answered: ['u64', 'ARP and neighbour questions answered.'],
    unchanged: ['u64', 'Packets of a physical server that left by the uplink as they were (P23).'],
    followed: ['u64', 'Packets for a VM that has left, sent after it to its new host (P7.6).'],
  },
);

export const ReturnEntry = record(
  'ReturnEntry',
  64,
  'Return memory: which outer source last carried (net, VM, port, peer, port, protocol).',
  {
    vm: ['bytes16', 'Address of the VM, the proxy’s or the physical server’s own.'],
    peer: ['bytes16', 'The other side.'],
    outer: ['bytes16', 'Outer source of the last packet in.'],
    net: ['u32', 'VPC id.'],
    lastMs: ['u32', 'Last packet in.'],
    vmPort: ['u16', 'Port, or ICMP identifier; 0 in a coarse entry.'],
    peerPort: ['u16', 'Port, or ICMP identifier; 0 in a coarse entry.'],
    tag: ['u16', 'Part of the hash of the key.'],
    protocol: ['u8', 'IP protocol; 0 in a coarse entry.'],
    kind: ['u8', '0 free, 1 exact, 2 coarse.'],
  },
);

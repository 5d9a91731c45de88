// What BIRD is told (data-plane.md P2, reference/routing.md): pure text. The service routes (VIPs, EIPs, E) and the tunnel routes lie in files
// of their own, because a withdrawal empties a file and leaves sessions and the rest of the configuration as they are.
import { type AddressPair, type DirectorImage, vipsToAnnounce } from '@openclb/model';

export interface BirdOptions {
  /** eBGP sessions with the access switches; the family of an address is the family of its routes. */
  readonly bgp?: { readonly as: number; readonly peers: readonly { readonly address: string; readonly as: number }[] };
  /** Devices on which OSPF (v2, and v3 for IPv6) is spoken in area 0. */
  readonly ospf?: readonly string[];
  /** Failure detection in 3 × 100 ms; off where the switches have none. */
  readonly bfd: boolean;
}

/** One address that a director announces. A backup stands in for a director that has died: the owner's route is better while it lives. */
export interface Announced {
  readonly address: string;
  readonly isBackup: boolean;
}

export interface AnnouncedSet {
  /** What clients talk to: taken away by a drain. */
  readonly service: readonly Announced[];
  /** What replies come back to: stays until the last flow of a draining director has ended. */
  readonly tunnels: readonly Announced[];
}

/** Files in BIRD's directory. */
export const BIRD_FILES = {
  config: 'bird.conf',
  socket: 'bird.ctl',
  pid: 'bird.pid',
  service: { 4: 'service4.conf', 6: 'service6.conf' },
  tunnels: { 4: 'tunnels4.conf', 6: 'tunnels6.conf' },
} as const;

const BACKUP_METRIC = 1000;
const FAMILIES = [4, 6] as const;
type Family = (typeof FAMILIES)[number];

/** Own addresses first hand, everyone else's tunnels as a backup (P2). Internal VIPs live inside tunnels only. */
export function announcedSet(image: DirectorImage): AnnouncedSet {
  const own = (address: string): Announced => ({ address, isBackup: false });
  const service = [...vipsToAnnounce(image), ...image.eips.map(({ eip }) => eip), ...addressesOf(image.anycast)].map(
    own,
  );
  const tunnels = image.tunnels.flatMap((row) =>
    addressesOf(row).map((address) => ({ address, isBackup: row.node !== image.self.id })),
  );
  return { service, tunnels: [...tunnels, ...addressesOf(image.probe).map(own)] };
}

/** Lines of a static protocol. Metric 2 decides among external routes of OSPF; for BGP the export filter makes a MED of it. */
export function routeLines(rows: readonly Announced[], family: Family): string {
  return rows
    .filter(({ address }) => familyOf(address) === family)
    .map(({ address, isBackup }) => {
      const metric = isBackup ? BACKUP_METRIC : 10;
      return `route ${address}/${family === 4 ? 32 : 128} blackhole { ospf_metric2 = ${metric}; };\n`;
    })
    .join('');
}

/** The whole of bird.conf. `own` are the node's underlay addresses; the IPv4 one is the router id, or one made from its ordinal. */
export function birdConfig(options: BirdOptions, own: AddressPair, ordinal: number, directory: string): string {
  const routerId = own.v4 ?? `0.76.${(ordinal >> 8) & 0xff}.${ordinal & 0xff}`;
  return [
    '# Written by OpenCLB again and again; changes made here are lost.',
    'log stderr { warning, error, fatal, bug, auth };',
    `router id ${routerId};`,
    'protocol device {}',
    ...(options.bfd ? [BFD] : []),
    ...FAMILIES.flatMap((family) => [
      staticProtocol('service', family, directory),
      staticProtocol('tunnels', family, directory),
    ]),
    ...(options.bgp?.peers.map((peer, index) => bgpProtocol(options, peer, index, own)) ?? []),
    ...FAMILIES.flatMap((family) => ospfProtocol(options, family)),
    '',
  ].join('\n');
}

const BFD = 'protocol bfd clb_bfd {\n  interface "*" { interval 100 ms; multiplier 3; };\n}';
/** Nothing of ours is ever learned by the kernel: its blackholes are the director's own (P1). */
const BGP_CHANNEL = [
  'import none; export filter {',
  '      if source != RTS_STATIC then reject;',
  // BIRD sends a MED of its own routes only when the export filter sets it.
  `      if ospf_metric2 = ${BACKUP_METRIC} then bgp_med = 100; else bgp_med = 0;`,
  '      accept;',
  '    };',
].join('\n');
const OSPF_CHANNEL = 'import none; export where source = RTS_STATIC;';

function staticProtocol(name: 'service' | 'tunnels', family: Family, directory: string): string {
  return `protocol static clb_${name}${family} {\n  ipv${family};\n  include "${directory}/${BIRD_FILES[name][family]}";\n}`;
}

/** Timers of routing.md: a daemon that is killed costs some milliseconds, a frozen one without BFD at most 3 s. */
function bgpProtocol(
  { bgp, bfd }: BirdOptions,
  peer: { readonly address: string; readonly as: number },
  index: number,
  own: AddressPair,
): string {
  const family = familyOf(peer.address);
  const local = family === 4 ? own.v4 : own.v6;
  return [
    `protocol bgp clb_bgp${index} {`,
    `  local ${local === undefined ? '' : `${local} `}as ${bgp!.as};`,
    `  neighbor ${peer.address} as ${peer.as};`,
    '  hold time 3; keepalive time 1; connect retry time 1; connect delay time 1; error wait time 1, 5;',
    ...(bfd ? ['  bfd on;'] : []),
    `  ipv${family} { ${BGP_CHANNEL} };`,
    '}',
  ].join('\n');
}

function ospfProtocol({ ospf, bfd }: BirdOptions, family: Family): string[] {
  if (ospf === undefined || ospf.length === 0) return [];
  const lines = ospf.map(
    (device) => `    interface "${device}" { hello 1; dead 4; wait 4; retransmit 2;${bfd ? ' bfd on;' : ''} };`,
  );
  return [
    [
      `protocol ospf v${family === 4 ? 2 : 3} clb_ospf${family} {`,
      `  ipv${family} { ${OSPF_CHANNEL} };`,
      '  area 0 {',
      ...lines,
      '  };',
      '}',
    ].join('\n'),
  ];
}

function addressesOf(pair: { readonly v4?: string | undefined; readonly v6?: string | undefined }): string[] {
  return [pair.v4, pair.v6].filter((address) => address !== undefined);
}

function familyOf(address: string): Family {
  return address.includes(':') ? 6 : 4;
}

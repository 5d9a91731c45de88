// The machines of a history: directors, VM hosts, VMs of two VPCs with the same addresses, clients, and the services on them.
import { type Random } from '../../packages/core-wasm/fuzz/random.ts';
import { type Member } from './control.ts';

export interface Vm {
  readonly name: string;
  readonly net: number;
  readonly addresses: readonly string[];
  readonly mac: string;
  readonly host: string;
}

/** A listener, or an EIP that leads to one VM. */
export interface Service {
  readonly kind: 'listener' | 'eip';
  readonly name: string;
  /** Where its address is known: 0 or a VPC. */
  readonly net: number;
  /** VPC of its targets. */
  readonly targetNet: number;
  readonly vips: readonly string[];
  readonly port: number;
  readonly protocol: 6 | 17;
  readonly scheduler: 'maglev' | 'wrr';
  readonly onRemove: 'run' | 'reset' | 'reschedule';
  readonly group: string;
}

export interface Topology {
  readonly directors: readonly string[];
  readonly hosts: readonly string[];
  readonly nets: readonly number[];
  readonly vms: readonly Vm[];
  readonly services: readonly Service[];
  readonly groups: ReadonlyMap<string, readonly Member[]>;
  readonly eips: readonly { id: string; address: string; vm: string; net: number; inner: string }[];
  /** Addresses of clients in the Internet. */
  readonly clients: readonly (readonly [v4: string, v6: string])[];
}

export const underlayOf = (last: number): { v4: string; v6: string } => ({
  v4: `10.255.0.${last}`,
  v6: `fd00:255::${last.toString(16)}`,
});

/** Port of every target. */
export const SERVER_PORT = 8080;
const NETS = [100, 200] as const;
/** VMs of a VPC that serve; one more is a client. */
const SERVERS = 4;

export function drawTopology(random: Random): Topology {
  const directors = ['ld1', 'ld2', 'ld3'].slice(0, 2 + random.below(2));
  const hosts = ['host1', 'host2'];
  const vms = NETS.flatMap((net, which) =>
    Array.from({ length: SERVERS + 1 }, (_, index): Vm => ({
      name: `vm${net}-${index}`,
      net,
      // The same in both VPCs.
      addresses: [`10.0.0.${index + 2}`, `fd00::${index + 2}`],
      mac: `02:00:00:00:0${which + 1}:${(index + 16).toString(16)}`,
      host: hosts[(index + which) % 2]!,
    })),
  );
  const services = NETS.flatMap((net, which) => servicesOf(random, net, which));
  const groups = new Map(
    services
      .filter(({ kind }) => kind === 'listener')
      .map(({ group, targetNet }) => [group, drawMembers(random, targetNet)]),
  );
  const eips = NETS.map((net, which) => ({
    id: `eip-${net}`,
    address: `198.18.0.${10 + which}`,
    vm: `vm${net}-${which}`,
    net,
    inner: `10.0.0.${which + 2}`,
  }));
  const clients = Array.from(
    { length: 3 },
    (_, index) => [`198.51.100.${index + 1}`, `2001:db8:c::${index + 1}`] as const,
  );
  return { directors, hosts, nets: NETS, vms, services, groups, eips, clients };
}

function servicesOf(random: Random, net: number, which: number): Service[] {
  const policy = (): Service['onRemove'] => random.pick(['run', 'run', 'reset', 'reschedule']);
  const common = { kind: 'listener', net: 0, targetNet: net } as const;
  const of = (kind: string, last: number, more: Pick<Service, 'port' | 'protocol' | 'scheduler'>): Service => ({
    ...common,
    ...more,
    name: `${kind}-${net}`,
    vips: [`203.0.113.${last + which}`, `2001:db8:cb::${last + which}`],
    onRemove: policy(),
    group: `lbtg-${kind}-${net}`,
  });
  const inner = of('inner', 0, { port: 80, protocol: 6, scheduler: random.pick(['maglev', 'wrr']) });
  const eip = of('eip', 0, { port: SERVER_PORT, protocol: 6, scheduler: 'maglev' });
  return [
    of('hash', 10, { port: 80, protocol: 6, scheduler: 'maglev' }),
    of('wrr', 20, { port: 80, protocol: 6, scheduler: 'wrr' }),
    of('dns', 30, { port: 53, protocol: 17, scheduler: random.pick(['maglev', 'wrr']) }),
    // The same VIP in both VPCs.
    { ...inner, net, vips: ['10.0.0.100', 'fd00::100'] },
    { ...eip, kind: 'eip', vips: [`198.18.0.${10 + which}`] },
  ];
}

export function drawMembers(random: Random, net: number): Member[] {
  const count = 2 + random.below(SERVERS - 1);
  const from = random.below(SERVERS);
  return Array.from({ length: count }, (_, index) => ({
    vm: `vm${net}-${(from + index) % SERVERS}`,
    weight: random.pick([1, 5, 10, 10, 20]),
  }));
}

// The demo's network (issue "The first walk"): a client, an ECMP switch and everything behind it, all of them ordinary kernel stacks.
// Every node hangs on the switch by a link of its own; VMs hang on their host by a veth whose far end the endpoint owns.
import { createNetwork } from '../../../tools/testkit/index.ts';
import type { LinkPlan, NamespacePlan, Network, NetworkPlan } from '../../../tools/testkit/index.ts';

export interface Node {
  name: string;
  /** Underlay addresses; the switch's end is one below (v4, a /31) or ::1 (v6). */
  v4: string;
  v6: string;
  /** Tells in a capture which way a frame went. */
  mac: string;
}

export interface Vm {
  name: string;
  host: string;
  vpcId: number;
  v4: string;
  v6: string;
  /** The device on the host that leads to the VM. */
  device: string;
  mac: string;
}

const node = (name: string, odd: number): Node => ({
  name,
  v4: `10.255.0.${odd}`,
  v6: `fd00:255:${odd}::2`,
  mac: `0a:00:00:ff:00:${odd.toString(16).padStart(2, '0')}`,
});

export const NODES = {
  ld1: node('ld1', 1),
  ld2: node('ld2', 3),
  px1: node('px1', 5),
  px2: node('px2', 7),
  ctl: node('ctl', 9),
  host1: node('host1', 11),
  host2: node('host2', 13),
  phys1: node('phys1', 15),
} as const;

export const CLIENT = { v4: '198.51.100.10', v6: '2001:db8:51::10' } as const;
/** Addresses that the switch routes to the directors and that no kernel owns. */
export const VIP = {
  a: '203.0.113.10',
  b: '203.0.113.20',
  mixed: '203.0.113.30',
  http: '203.0.113.40',
  secure: '203.0.113.50',
  eip: '203.0.113.100',
  a6: '2001:db8:113::10',
  http6: '2001:db8:113::40',
} as const;

export const VMS = {
  'vm-a1': {
    name: 'vm-a1',
    host: 'host1',
    vpcId: 100,
    v4: '10.0.0.2',
    v6: 'fd00:100::2',
    device: 'tap-a1',
    mac: '0a:00:00:00:0a:01',
  },
  'vm-a2': {
    name: 'vm-a2',
    host: 'host2',
    vpcId: 100,
    v4: '10.0.0.3',
    v6: 'fd00:100::3',
    device: 'tap-a2',
    mac: '0a:00:00:00:0a:02',
  },
  // The same addresses as vm-a1, in another VPC: what a load balancer for many tenants must never mix up.
  'vm-b1': {
    name: 'vm-b1',
    host: 'host2',
    vpcId: 200,
    v4: '10.0.0.2',
    v6: 'fd00:100::2',
    device: 'tap-b1',
    mac: '0a:00:00:00:0b:01',
  },
} as const satisfies Record<string, Vm>;

export const VPC_GATEWAY = { v4: '10.0.0.1', v6: 'fd00:100::1' } as const;
export const TARGET_PORT = 8080;
/** Of the same servers: a port that resets every request. */
export const BROKEN_PORT = 8081;
const VM_MTU = 1500;

/** Layer-3 and layer-4 fields of the flow decide the path, never the sender's socket hash (routing.md). */
const SWITCH_SYSCTLS = {
  'ipv4.ip_forward': '1',
  'ipv6.conf.all.forwarding': '1',
  'ipv4.fib_multipath_hash_policy': '3',
  'ipv4.fib_multipath_hash_fields': '55',
  'ipv6.fib_multipath_hash_policy': '3',
  'ipv6.fib_multipath_hash_fields': '55',
};

/** VMs that run elsewhere than the plan says: a proof that nothing depends on the place. */
export type Placement = Partial<Record<string, 'host1' | 'host2'>>;

export interface TopologyOptions {
  underlayMtu?: number;
  placement?: Placement;
  label?: string;
}

const below = (v4: string): string => v4.replace(/\d+$/, (last) => String(Number(last) - 1));
const gateway6 = (v6: string): string => v6.replace(/2$/, '1');

export function topologyPlan(options: TopologyOptions = {}): NetworkPlan {
  const nodes = Object.values(NODES);
  const links: LinkPlan[] = [
    { a: { namespace: 'client', device: 'eth0' }, b: { namespace: 'switch', device: 'client' }, mtu: 1500 },
    ...nodes.map(({ name, mac }) => ({
      a: { namespace: name, device: 'eth0', mac },
      b: { namespace: 'switch', device: name },
      mtu: options.underlayMtu ?? 1600,
    })),
    ...Object.values(VMS).map((vm) => ({
      a: { namespace: options.placement?.[vm.name] ?? vm.host, device: vm.device },
      b: { namespace: vm.name, device: 'eth0', mac: vm.mac },
      mtu: VM_MTU,
    })),
  ];
  const namespaces: NamespacePlan[] = [
    { name: 'switch', sysctls: SWITCH_SYSCTLS, commands: switchCommands() },
    {
      name: 'client',
      commands: [
        `addr add ${CLIENT.v4}/24 dev eth0`,
        `addr add ${CLIENT.v6}/64 dev eth0 nodad`,
        'route add default via 198.51.100.1',
        'route add default via 2001:db8:51::1',
      ],
    },
    ...nodes.map(({ name, v4, v6 }) => ({
      name,
      commands: [
        `addr add ${v4}/31 dev eth0`,
        `addr add ${v6}/64 dev eth0 nodad`,
        `route add default via ${below(v4)}`,
        `route add default via ${gateway6(v6)}`,
      ],
    })),
    ...Object.values(VMS).map((vm) => ({ name: vm.name, commands: vmCommands(vm) })),
  ];
  return { namespaces, links };
}

function switchCommands(): string[] {
  return [
    'addr add 198.51.100.1/24 dev client',
    'addr add 2001:db8:51::1/64 dev client nodad',
    ...Object.values(NODES).flatMap(({ name, v4, v6 }) => [
      `addr add ${below(v4)}/31 dev ${name}`,
      `addr add ${gateway6(v6)}/64 dev ${name} nodad`,
    ]),
  ];
}

function vmCommands(vm: Vm): string[] {
  return [
    `addr add ${vm.v4}/24 dev eth0`,
    `addr add ${vm.v6}/64 dev eth0 nodad`,
    `route add default via ${VPC_GATEWAY.v4}`,
    `route add default via ${VPC_GATEWAY.v6}`,
  ];
}

export const bringUpTopology = (options: TopologyOptions = {}): Network =>
  createNetwork(topologyPlan(options), options.label ?? 'clb');

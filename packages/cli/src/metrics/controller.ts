// What the controller tells Prometheus: revisions, nodes and load balancers, as `clb status` has them (docs/reference/metrics.md).
import type { Status } from '@openclb/model';
import type { Family } from './text.ts';

export function controllerFamilies(status: Status): Family[] {
  const gauge = (name: string, help: string, samples: Family['samples']): Family => ({
    name,
    type: 'gauge',
    help,
    samples,
  });
  const one = (name: string, help: string, value: number): Family => gauge(name, help, [{ value }]);
  const each = (name: string, help: string, value: (node: Status['nodes'][number]) => boolean): Family =>
    gauge(
      name,
      help,
      status.nodes.map((node) => ({ labels: { node: node.id, role: node.role }, value: Number(value(node)) })),
    );
  return [
    one('clb_controller_revision', 'Revision of the desired state.', status.revision),
    one('clb_controller_applied', '1: every live node has applied the newest revision.', Number(status.applied)),
    one('clb_controller_warnings', 'Warnings of the last compilation.', status.warnings.length),
    each('clb_node_live', '1: the lease of the node runs.', (node) => node.live),
    each('clb_node_draining', '1: told to take no new flows.', (node) => node.draining),
    each('clb_node_refused', '1: refused the last image that it was sent.', (node) => node.refused !== null),
    gauge(
      'clb_node_applied_revision',
      'Revision that the node serves.',
      status.nodes.map(({ id, role, applied }) => ({ labels: { node: id, role }, value: applied?.revision ?? 0 })),
    ),
    gauge(
      'clb_load_balancer_compiled',
      '1: what is desired is served; 0: an older version of it is kept.',
      status.loadBalancers.map(({ id, name, compiled }) => ({ labels: { id, name }, value: Number(compiled) })),
    ),
  ];
}

// Nodes of the cluster and what the controller allocated to them by compare-and-set (control-plane.md B6; data-plane.md P1, P18, P21).
import { type Static, Type } from 'typebox';
import { AddressPair, TunnelRow } from './image.ts';
import { AddressText, CidrText, closed, NodeId, Revision } from './ids.ts';
import { LIMITS } from './limits.ts';

export const NodeRole = Type.Enum(['director', 'proxy', 'endpoint'], { description: 'What the node does' });
export type NodeRole = Static<typeof NodeRole>;

const underlay = { ...AddressPair, description: "The node's own address, one per family; at least one" };
const workers = Type.Integer({
  minimum: 1,
  maximum: LIMITS.tunnelsPerDirectorMax,
  default: 1,
  description: 'Workers of a director: one tunnel address each',
});
const physical = Type.Array(AddressText, {
  maxItems: 16,
  uniqueItems: true,
  description: 'Addresses of the machine that are physical targets reached through its endpoint',
});

export const NodeInput = Type.Object(
  { id: NodeId, role: NodeRole, underlay, workers: Type.Optional(workers), physical: Type.Optional(physical) },
  { ...closed, description: 'A node to register' },
);
export type NodeInput = Static<typeof NodeInput>;

export const NodePatch = Type.Object(
  { underlay: Type.Optional(underlay), workers: Type.Optional(workers), physical: Type.Optional(physical) },
  { ...closed, description: 'What may change on a node' },
);
export type NodePatch = Static<typeof NodePatch>;

export const Node = Type.Object(
  {
    id: NodeId,
    role: NodeRole,
    underlay,
    workers,
    physical,
    ordinal: Type.Integer({
      minimum: 0,
      maximum: LIMITS.nodesMax - 1,
      description: 'Small number of the node, allocated',
    }),
    tunnels: Type.Array(TunnelRow, { description: 'Tunnel addresses of a director, allocated' }),
    probe: { ...AddressPair, description: 'Addresses that a director probes from, allocated' },
    sources: Type.Array(CidrText, {
      description: "Blocks of a proxy's own source addresses, one address a VPC, allocated",
    }),
    revision: Revision,
  },
  { ...closed, description: 'A node of the cluster' },
);
export type Node = Static<typeof Node>;

// What the controller reports about itself, its nodes and its load balancers (walk 3; control-plane.md B9, B10).
import { type Static, Type } from 'typebox';
import { AddressPair, Generation, TunnelRow } from './image.ts';
import { closed, Revision } from './ids.ts';
import { ExplainQuery, RequestQuery } from './link.ts';
import { NodeRole } from './node.ts';

export const NodeStatus = Type.Object(
  {
    id: Type.String(),
    role: NodeRole,
    live: Type.Boolean({ description: 'Its lease has not run out' }),
    connected: Type.Boolean({ description: 'Its stream is open' }),
    port: Type.Union([Type.String(), Type.Null()], { description: 'What carries its packets, as it says itself' }),
    applied: Type.Union([Generation, Type.Null()]),
    wanted: Generation,
    draining: Type.Boolean({ description: 'Told to take no new flows; forgotten when the node restarts' }),
    refused: Type.Union([Type.Object({ generation: Generation, reason: Type.String() }, closed), Type.Null()]),
    alarms: Type.Array(Type.String()),
  },
  { ...closed, description: 'A node as the controller sees it' },
);
export type NodeStatus = Static<typeof NodeStatus>;

export const LoadBalancerStatus = Type.Object(
  {
    id: Type.String(),
    name: Type.String(),
    compiled: Type.Boolean({ description: 'False: the last good fragment is served' }),
    problem: Type.Union([Type.String(), Type.Null()]),
    warnings: Type.Array(Type.String(), { description: 'For example targets left out because nobody placed them' }),
  },
  { ...closed, description: 'Whether a load balancer compiles' },
);
export type LoadBalancerStatus = Static<typeof LoadBalancerStatus>;

export const Task = Type.Object(
  {
    revision: Revision,
    state: Type.Enum(['running', 'succeeded', 'failed']),
    waitingFor: Type.Array(Type.String()),
    excluded: Type.Array(Type.String(), { description: 'Dead nodes, which nobody waits for' }),
    reason: Type.Union([Type.String(), Type.Null()]),
  },
  { ...closed, description: 'A revision on its way to the live nodes' },
);
export type Task = Static<typeof Task>;

export const Status = Type.Object(
  {
    revision: Revision,
    generation: Generation,
    applied: Type.Boolean({ description: 'Every live node applied the newest generation' }),
    nodes: Type.Array(NodeStatus),
    loadBalancers: Type.Array(LoadBalancerStatus),
    tasks: Type.Array(Task),
    warnings: Type.Array(Type.String()),
  },
  { ...closed, description: 'The state of the cluster' },
);
export type Status = Static<typeof Status>;

export const TargetHealthState = Type.Enum(['Alive', 'Dead', 'Probing', 'Unknown', 'Close']);
export type TargetHealthState = Static<typeof TargetHealthState>;

export const TargetHealth = Type.Object(
  {
    targetGroup: Type.String(),
    target: Type.String(),
    state: TargetHealthState,
    nodes: Type.Array(Type.Object({ node: Type.String(), state: TargetHealthState }, closed)),
  },
  { ...closed, description: 'Majority view of a target, the worse one at a tie, and the view of each node' },
);
export type TargetHealth = Static<typeof TargetHealth>;

export const ExplainRequest = Type.Object(
  {
    ...ExplainQuery.properties,
    node: Type.Optional(Type.String({ description: 'Which director to ask; any live one when absent' })),
  },
  { ...closed, description: 'A packet to explain' },
);
export type ExplainRequest = Static<typeof ExplainRequest>;

export const ExplainHttpRequest = Type.Object(
  {
    ...RequestQuery.properties,
    node: Type.Optional(Type.String({ description: 'Which proxy to ask; any live one when absent' })),
  },
  { ...closed, description: 'A request to explain' },
);
export type ExplainHttpRequest = Static<typeof ExplainHttpRequest>;

/** What a switch-side announcer needs to know (data-plane.md P2, P35). */
export const Announcements = Type.Object(
  {
    revision: Revision,
    directors: Type.Array(
      Type.Object(
        {
          id: Type.String(),
          live: Type.Boolean(),
          underlay: AddressPair,
          tunnels: Type.Array(TunnelRow),
          probe: AddressPair,
        },
        closed,
      ),
    ),
    addresses: Type.Array(Type.Object({ address: Type.String(), kind: Type.Enum(['vip', 'eip', 'anycast']) }, closed)),
  },
  { ...closed, description: 'Which addresses every director announces, and which are its own' },
);
export type Announcements = Static<typeof Announcements>;

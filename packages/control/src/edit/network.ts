// Edits of VPCs, instances and nodes: the world that load balancers send to.
import {
  address,
  cidr,
  cidrContains,
  cidrsOverlap,
  ClbError,
  formatCidr,
  type InstanceInput,
  LIMITS,
  type NodeInput,
  parseCidr,
  type VpcInput,
} from '@openclb/model';
import { ORDINAL_REUSE_MS, ORDINALS, probeOf, sourceBlocksOf, tunnelsOf } from '../allocate.ts';
import { KEY } from '../desired/keys.ts';
import type { StoredInstance, StoredNode, StoredVpc } from '../desired/state.ts';
import { releaseClaims, takeClaims } from './claims.ts';
import {
  compact,
  type Edit,
  newId,
  reject,
  requireAddress,
  requireReference,
  requireUsableAddress,
} from './context.ts';

export function saveVpc(edit: Edit, input: VpcInput, before?: StoredVpc): StoredVpc {
  const cidrs = (input.cidrs ?? []).map((text, index) => {
    const block = parseCidr(text);
    if (!block) reject(`/cidrs/${index}`, `${text} is not a CIDR block whose host bits are zero`);
    if (cidrsOverlap(block, edit.pools.service))
      throw new ClbError('ReservedRange', { field: `/cidrs/${index}`, value: text });
    return formatCidr(block);
  });
  const sourceIndex = before?.sourceIndex ?? freeSourceIndex(edit);
  const vpc: StoredVpc = { id: input.id, name: input.name ?? `vpc-${input.id}`, cidrs, sourceIndex };
  if (before) releaseClaims(edit, 'vpc', before);
  takeClaims(edit, 'vpc', vpc);
  edit.draft.put(KEY.vpc(vpc.id), vpc);
  return vpc;
}

function freeSourceIndex(edit: Edit): number {
  for (let index = 1; index <= LIMITS.vpcsMax; index++)
    if (edit.draft.peek(KEY.sourceIndex(index)) === undefined) return index;
  throw new ClbError('LimitExceeded', { limit: LIMITS.vpcsMax, what: 'VPCs' });
}

export function saveInstance(edit: Edit, input: InstanceInput, before?: StoredInstance): StoredInstance {
  const vpc = requireReference<StoredVpc>(edit, KEY.vpc(input.vpcId), '/vpcId', input.vpcId);
  const blocks = vpc.cidrs.map(cidr);
  const addresses = input.addresses.map((text, index) => {
    const canonical = requireUsableAddress(edit, `/addresses/${index}`, text);
    if (blocks.length > 0 && !blocks.some((block) => cidrContains(block, address(canonical)))) {
      reject(`/addresses/${index}`, `${canonical} is in no block of VPC ${vpc.id} (${vpc.cidrs.join(', ')})`);
    }
    return canonical;
  });
  if (input.host !== undefined) requireHost(edit, '/host', input.host);
  if ((input.device === undefined) !== (input.mac === undefined)) {
    reject(input.device === undefined ? '/device' : '/mac', 'device and mac are given together');
  }
  const id = before?.id ?? input.id ?? newId(edit, 'instance', input.name ?? '');
  const { host, device, mac } = input;
  const instance = compact({
    id,
    name: input.name ?? id,
    vpcId: vpc.id,
    addresses,
    host,
    device,
    mac,
  }) as StoredInstance;
  for (const text of before?.addresses ?? []) {
    const bound = edit.draft.get<{ owner: string }>(KEY.eipFor(vpc.id, text));
    if (bound && !addresses.includes(text))
      throw new ClbError('ResourceInUse', { kind: 'address', id: text, owner: bound.owner });
  }
  if (before && before.vpcId !== vpc.id) reject('/vpcId', 'cannot change; register another instance');
  if (before) releaseClaims(edit, 'instance', before);
  takeClaims(edit, 'instance', instance);
  edit.draft.put(KEY.instance(id), instance);
  return instance;
}

/** The endpoint behind which something lives. */
export function requireHost(edit: Edit, field: string, id: string): StoredNode {
  const node = requireReference<StoredNode>(edit, KEY.node(id), field, id);
  if (node.role !== 'endpoint') reject(field, `${id} is a ${node.role}, not an endpoint`);
  return node;
}

export function saveNode(edit: Edit, input: NodeInput, before?: StoredNode): StoredNode {
  if (before && before.role !== input.role) reject('/role', 'cannot change; delete the node and register it again');
  const { role, id } = input;
  const underlay = compact({
    v4: familyAddress(input.underlay.v4, 4, '/underlay/v4'),
    v6: familyAddress(input.underlay.v6, 6, '/underlay/v6'),
  });
  if (underlay.v4 === undefined && underlay.v6 === undefined) reject('/underlay', 'needs v4 or v6');
  const workers = input.workers ?? 1;
  const physical = (input.physical ?? []).map((text, index) => requireUsableAddress(edit, `/physical/${index}`, text));
  if (physical.length > 0 && role !== 'endpoint') reject('/physical', 'is for endpoints');
  const ordinal = before?.ordinal ?? freeOrdinal(edit, role);
  const node: StoredNode = {
    id,
    role,
    underlay,
    workers,
    physical,
    ordinal,
    tunnels: role === 'director' ? tunnelsOf(id, ordinal, workers, edit.pools) : [],
    probe: role === 'director' ? probeOf(ordinal, edit.pools) : {},
    sources: role === 'proxy' ? sourceBlocksOf(ordinal, edit.pools) : [],
  };
  if (before) releaseClaims(edit, 'node', before);
  takeClaims(edit, 'node', node);
  edit.draft.put(KEY.node(id), node);
  return node;
}

function familyAddress(text: string | undefined, family: 4 | 6, field: string): string | undefined {
  if (text === undefined) return undefined;
  const canonical = requireAddress(field, text);
  if (address(canonical).family !== family) reject(field, `must be an IPv${family} address`);
  return canonical;
}

/** The lowest that nobody has and nobody gave back within the last 24 h: a stale packet must not reach a namesake (P1). */
function freeOrdinal(edit: Edit, role: StoredNode['role']): number {
  const { min, max } = ORDINALS[role];
  for (let ordinal = min; ordinal <= max; ordinal++) {
    const claim = edit.draft.peek<{ owner: string; freedAtMs?: number }>(KEY.ordinal(role, ordinal));
    if (claim === undefined) return ordinal;
    if (claim.owner === '' && edit.nowMs - (claim.freedAtMs ?? 0) > ORDINAL_REUSE_MS) return ordinal;
  }
  throw new ClbError('LimitExceeded', { limit: max - min + 1, what: `nodes of role ${role}` });
}

// Edits of EIPs: the pure lifecycle of @openclb/eip-ipv6 over the draft (tencent-cloud.md D-P0 EIP).
import { allocateEip, bindEip, firstFree, releaseEip, resolveBinding, unbindEip } from '@openclb/eip-ipv6';
import { ClbError, type EipBindInput, type EipInput } from '@openclb/model';
import { KEY } from '../desired/keys.ts';
import type { StoredEip, StoredInstance } from '../desired/state.ts';
import { releaseClaims, takeClaims } from './claims.ts';
import { type Edit, newId, requireReference, requireUsableAddress } from './context.ts';
import { removeObject } from './remove.ts';

export function allocate(edit: Edit, input: EipInput): StoredEip {
  const address =
    input.address === undefined
      ? freeAddress(edit, input.family ?? 'v4')
      : requireUsableAddress(edit, '/address', input.address);
  const id = input.id ?? newId(edit, 'eip', input.name ?? address);
  if (edit.draft.get(KEY.eip(id)) !== undefined) throw new ClbError('AlreadyExists', { kind: 'eip', id, field: '/id' });
  const eip = allocateEip(id, input.name ?? id, address);
  takeClaims(edit, 'eip', eip);
  edit.draft.put(KEY.eip(id), eip);
  return eip;
}

function freeAddress(edit: Edit, family: 'v4' | 'v6'): string {
  const found = firstFree(
    edit.pools.eip,
    family === 'v4' ? 4 : 6,
    (text) => edit.draft.peek(KEY.address(0, text)) !== undefined,
  );
  if (found === undefined) throw new ClbError('PoolExhausted', { pool: `EIP (${family})` });
  return found;
}

export function requireEip(edit: Edit, id: string): StoredEip {
  const eip = edit.draft.get<StoredEip>(KEY.eip(id));
  if (!eip) throw new ClbError('NotFound', { kind: 'eip', id });
  return eip;
}

export function bind(edit: Edit, id: string, input: EipBindInput): StoredEip {
  const before = requireEip(edit, id);
  const binding = resolveBinding(before.address, input, {
    instance: (instance) => edit.draft.get<StoredInstance>(KEY.instance(instance)),
    instanceAt: (vpc, address) => edit.draft.get<{ owner: string }>(KEY.address(vpc, address))?.owner,
    hasVpc: (vpc) => edit.draft.get(KEY.vpc(vpc)) !== undefined,
  });
  const owner = edit.draft.get<{ owner: string }>(KEY.address(binding.vpc, binding.address))?.owner;
  if (owner !== undefined) requireReference(edit, KEY.instance(owner), '/address', binding.address);
  return replace(edit, before, bindEip(before, binding));
}

export function unbind(edit: Edit, id: string): StoredEip {
  const before = requireEip(edit, id);
  return replace(edit, before, unbindEip(before));
}

export function release(edit: Edit, id: string): void {
  const before = requireEip(edit, id);
  releaseEip(before);
  removeObject(edit, 'eip', before);
}

function replace(edit: Edit, before: StoredEip, after: StoredEip): StoredEip {
  releaseClaims(edit, 'eip', before);
  takeClaims(edit, 'eip', after);
  edit.draft.put(KEY.eip(after.id), after);
  return after;
}

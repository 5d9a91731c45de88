// Which keys an object holds beside its own: addresses, ports, names. Created if absent, so two owners cannot both succeed (B7).
import { ClbError } from '@openclb/model';
import { type AddressClaim, KEY } from '../desired/keys.ts';
import type { Stored } from '../desired/state.ts';
import type { Edit } from './context.ts';

export interface Claim {
  readonly key: string;
  readonly value: { readonly owner: string };
  readonly refuse: (owner: string) => ClbError;
}

function addressClaim(net: number, address: string, owner: string, use: AddressClaim['use']): Claim {
  const value: AddressClaim = { owner, use };
  return {
    key: KEY.address(net, address),
    value,
    refuse: (other) => new ClbError('AddressInUse', { address, owner: other, field: 'address' }),
  };
}

function nameClaim(kind: string, name: string, owner: string): Claim {
  return {
    key: KEY.name(kind, name),
    value: { owner },
    refuse: () => new ClbError('AlreadyExists', { kind, id: name, field: '/name' }),
  };
}

type ClaimsOf = { readonly [K in keyof Stored]: (value: Stored[K]) => Claim[] };

/** Every claim that an object holds, from the object alone. */
export const CLAIMS: ClaimsOf = {
  vpc: ({ id, sourceIndex }) => [
    { key: KEY.sourceIndex(sourceIndex), value: { owner: String(id) }, refuse: () => new ClbError('Conflict') },
  ],
  node: ({ id, role, ordinal, underlay, physical, tunnels, probe }) => {
    const own = [underlay.v4, underlay.v6].filter((text) => text !== undefined);
    const extra = physical.filter((text) => !own.includes(text));
    const tunnel = tunnels.flatMap(({ v4, v6 }) => [v4, v6]).filter((text) => text !== undefined);
    const probes = [probe.v4, probe.v6].filter((text) => text !== undefined);
    return [
      { key: KEY.ordinal(role, ordinal), value: { owner: id }, refuse: () => new ClbError('Conflict') },
      ...own.map((text) => addressClaim(0, text, id, 'underlay')),
      ...extra.map((text) => addressClaim(0, text, id, 'physical')),
      ...tunnel.map((text) => addressClaim(0, text, id, 'tunnel')),
      ...probes.map((text) => addressClaim(0, text, id, 'probe')),
    ];
  },
  instance: ({ id, name, vpcId, addresses }) => [
    nameClaim('instance', name, id),
    ...addresses.map((text) => addressClaim(vpcId, text, id, 'instance')),
  ],
  certificate: ({ id, name }) => [nameClaim('certificate', name, id)],
  targetGroup: ({ id, name }) => [nameClaim('targetGroup', name, id)],
  loadBalancer: ({ id, name, vips, network, vpcId }) => [
    nameClaim('loadBalancer', name, id),
    ...vips.map((text) => addressClaim(network === 'internal' ? (vpcId ?? 0) : 0, text, id, 'vip')),
  ],
  listener: ({ id, loadBalancer, protocol, port }) => [
    {
      key: KEY.port(loadBalancer, protocol === 'UDP' ? 'udp' : 'tcp', port),
      value: { owner: id },
      refuse: (owner) => new ClbError('PortInUse', { protocol, port, loadBalancer, owner, field: '/port' }),
    },
  ],
  eip: ({ id, name, address, binding }) => [
    nameClaim('eip', name, id),
    addressClaim(0, address, id, 'eip'),
    ...(binding === undefined
      ? []
      : [
          {
            key: KEY.eipFor(binding.vpc, binding.address),
            value: { owner: id },
            refuse: (owner: string) =>
              new ClbError('InstanceHasEip', { address: binding.address, vpc: binding.vpc, owner }),
          },
        ]),
  ],
};

/** Gives back everything; what is claimed again in the same draft leaves no trace. */
export function releaseClaims<K extends keyof Stored>(edit: Edit, kind: K, value: Stored[K]): void {
  for (const claim of CLAIMS[kind](value)) {
    // In a document another object may have taken over the key by now.
    if (edit.draft.get<{ owner: string }>(claim.key)?.owner !== claim.value.owner) continue;
    if (claim.key.startsWith('d/ordinal/')) edit.draft.put(claim.key, { owner: '', freedAtMs: edit.nowMs });
    else edit.draft.delete(claim.key);
  }
}

export function takeClaims<K extends keyof Stored>(edit: Edit, kind: K, value: Stored[K]): void {
  for (const claim of CLAIMS[kind](value)) {
    const taken = edit.draft.get<{ owner: string }>(claim.key);
    if (taken !== undefined && taken.owner !== '' && taken.owner !== claim.value.owner) throw claim.refuse(taken.owner);
    // Two addresses of one owner for two uses (a VIP given twice) would be one key as well.
    edit.draft.put(claim.key, claim.value);
  }
}

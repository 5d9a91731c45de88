// What EIPs add to images (P28): the director's 1:1 rows, and the addresses of a VM that leave towards E. Pure.
import type { EipRow } from '@openclb/model';
import type { EipRecord } from './lifecycle.ts';

export interface EipCompileView {
  stableId(resource: string): string;
  /** Stable id of the host behind which (vpc, address) lives; undefined while nobody has placed it. */
  hostOf(vpc: number, address: string): string | undefined;
}

export function compileEips(eips: Iterable<EipRecord>, view: EipCompileView): { rows: EipRow[]; warnings: string[] } {
  const rows: EipRow[] = [];
  const warnings: string[] = [];
  for (const { id, name, address, binding } of [...eips].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    if (!binding) continue;
    const host = view.hostOf(binding.vpc, binding.address);
    if (host === undefined) {
      warnings.push(`${id} (${name}) is left out: ${binding.address} of VPC ${binding.vpc} is placed on no host`);
      continue;
    }
    rows.push({ id: view.stableId(id), name: id, eip: address, net: binding.vpc, address: binding.address, host });
  }
  return { rows, warnings };
}

/** Which of a VM's addresses have an EIP. */
export function eipAddressesOf(eips: Iterable<EipRecord>, net: number, addresses: readonly string[]): string[] {
  const bound = new Set<string>();
  for (const { binding } of eips) if (binding?.vpc === net) bound.add(binding.address);
  return addresses.filter((text) => bound.has(text));
}

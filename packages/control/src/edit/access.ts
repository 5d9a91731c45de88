// Access lists as they are written: prefixes without host bits, in one spelling, and ports that are a range.
import { type AccessList, canonicalAddress, formatCidr, parseCidr, portsOf } from '@openclb/model';
import { reject } from './context.ts';

/** Rules that a lookup may have to read under one prefix; the packet core refuses more. */
const RULES_PER_PREFIX_MAX = 64;

export function checkedAccess({ otherwise, rules }: AccessList): AccessList {
  const perPrefix = new Map<string, number>();
  const checked = rules.map((rule, index) => {
    const field = `/access/rules/${index}`;
    const block = parseCidr(rule.cidr.includes('/') ? rule.cidr : wholeOf(rule.cidr));
    if (block === undefined) return reject(`${field}/cidr`, `${rule.cidr} is no prefix with zero host bits`);
    if (rule.ports !== undefined && portsOf(rule.ports) === undefined)
      reject(`${field}/ports`, `${rule.ports} is no range of ports from 1 to 65535`);
    if (block.family === 6 && block.prefix >= 96 && block.base >> 32n === 0xffffn)
      reject(`${field}/cidr`, `${rule.cidr} is IPv4: write it as such`);
    const cidr = formatCidr(block);
    const count = (perPrefix.get(cidr) ?? 0) + 1;
    if (count > RULES_PER_PREFIX_MAX) reject(field, `is one of more than ${RULES_PER_PREFIX_MAX} rules for ${cidr}`);
    perPrefix.set(cidr, count);
    return { ...rule, cidr };
  });
  return { otherwise, rules: checked };
}

function wholeOf(text: string): string {
  return `${canonicalAddress(text) ?? text}/${text.includes(':') ? 128 : 32}`;
}

// Lists of networks (CIDR) that a client address is looked up in. An address of the wrong family is in none.
import { BlockList, isIPv6 } from 'node:net';
import { parseCidr } from '@openclb/model';

export class Networks {
  readonly #list = new BlockList();

  constructor(texts: readonly string[]) {
    for (const text of texts) {
      const [base = '', prefix] = text.split('/');
      const family = isIPv6(base) ? 'ipv6' : 'ipv4';
      if (prefix === undefined) this.#list.addAddress(base, family);
      else if (parseCidr(text) === undefined) throw new RangeError(`${text} is no network with zero host bits`);
      else this.#list.addSubnet(base, Number(prefix), family);
    }
  }

  has(address: string): boolean {
    return this.#list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
  }
}

export function networksOf(texts: readonly string[] | undefined): Networks | null {
  return texts === undefined || texts.length === 0 ? null : new Networks(texts);
}

// Access lists of an image as the core reads them: prefixes in a path-compressed binary trie, rules behind each in the order of their list.
// Built on the main thread; a list that has not changed since the last image, with all others, is copied instead.
import { AccessNode, AccessRule } from '../layout/index.ts';
import { isMapped, parseAddress } from './address.ts';

/** Lets new flows in or keeps them out; of the rules that fit, the longest prefix counts, under one prefix the first. */
export interface AccessRuleInput {
  /** `a.b.c.d/n` or `x:y::/n`, or an address alone. Bits behind the length must be 0. */
  readonly cidr: string;
  readonly action: 'allow' | 'deny';
  /** IP protocol; any when absent. */
  readonly protocol?: number | undefined;
  /** Ports of the VIP, both included; all when absent. */
  readonly firstPort?: number | undefined;
  readonly lastPort?: number | undefined;
}

export interface AccessListInput {
  readonly id: string;
  /** For clients that no rule names. */
  readonly otherwise: 'allow' | 'deny';
  readonly rules: readonly AccessRuleInput[];
}

/** First nodes of a list by family. */
export interface AccessRoots {
  readonly v4: number;
  readonly v6: number;
}

/** Tables ready to be copied into a bank. */
export interface BuiltAccess {
  readonly nodes: Uint8Array;
  readonly rules: Uint8Array;
  readonly roots: ReadonlyMap<string, AccessRoots>;
}

/** Rules of one list under one prefix: a lookup may have to read them all. */
export const RULES_PER_PREFIX_MAX = 64;
const BITS = 128;
const V4_BITS = 96;
const V4_ROOT = parseAddress('0.0.0.0');
const V6_ROOT = new Uint8Array(16);
const ANY_PORT = 0xffff;

/** `rulesMax` counts one rule more for each family of each list. Throws a RangeError that names the list for what is wrong with it. */
export function buildAccess(lists: readonly AccessListInput[], rulesMax: number): BuiltAccess {
  const total = lists.reduce((sum, { rules }) => sum + rules.length + 2, 0);
  if (total > rulesMax)
    throw new RangeError(
      `The image has ${total} access rules and the memory plan room for ${rulesMax}: raise accessRules or shorten the lists`,
    );
  const trie = new Trie(total);
  const roots = new Map<string, AccessRoots>();
  for (const list of lists) {
    try {
      roots.set(list.id, addList(trie, list));
    } catch (error) {
      throw new RangeError(`Access list ${list.id}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { nodes: trie.nodes.subarray(0, trie.used * AccessNode.bytes), rules: trie.laidOut(), roots };
}

function addList(trie: Trie, { otherwise, rules }: AccessListInput): AccessRoots {
  const v4 = trie.add(0, V4_ROOT, V4_BITS);
  const v6 = trie.add(0, V6_ROOT, 0);
  for (const rule of rules) {
    const { address, length } = parseCidr(rule.cidr);
    trie.rule(trie.add(isMapped(address) && length >= V4_BITS ? v4 : v6, address, length), checkedRule(rule));
  }
  const last = { protocol: 0, action: otherwise === 'allow' ? 1 : 0, firstPort: 0, lastPort: ANY_PORT };
  for (const root of [v4, v6]) trie.rule(root, last, true);
  return { v4, v6 };
}

interface CheckedRule {
  readonly protocol: number;
  readonly action: number;
  readonly firstPort: number;
  readonly lastPort: number;
}

function checkedRule({ action, protocol = 0, firstPort = 0, lastPort = ANY_PORT, cidr }: AccessRuleInput): CheckedRule {
  if (!isWhole(protocol, 255)) throw new RangeError(`${cidr}: ${protocol} is no IP protocol`);
  if (!isWhole(firstPort, ANY_PORT) || !isWhole(lastPort, ANY_PORT) || firstPort > lastPort)
    throw new RangeError(`${cidr}: ${firstPort} to ${lastPort} are no ports`);
  if (action !== 'allow' && action !== 'deny') throw new RangeError(`${cidr}: an action is allow or deny`);
  return { protocol, action: action === 'allow' ? 1 : 0, firstPort, lastPort };
}

const isWhole = (value: number, max: number): boolean => Number.isInteger(value) && value >= 0 && value <= max;

/** Address in 16 bytes and length in 128 bits. Throws a RangeError that quotes the text. */
function parseCidr(text: string): { readonly address: Uint8Array; readonly length: number } {
  const slash = text.indexOf('/');
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  const isV4 = !text.includes(':');
  const own = isV4 ? 32 : BITS;
  const written = slash < 0 ? String(own) : text.slice(slash + 1);
  if (!/^(0|[1-9]\d{0,2})$/.test(written) || Number(written) > own)
    throw new RangeError(`"${text}" is not a CIDR: its length must be 0 to ${own}`);
  const length = Number(written) + (isV4 ? V4_BITS : 0);
  for (let bit = length; bit < BITS; bit++)
    if (bitOf(address, bit) !== 0) throw new RangeError(`"${text}" has bits set behind its length`);
  return { address, length };
}

function bitOf(address: Uint8Array, bit: number): number {
  return ((address[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1;
}

/** Nodes in the bytes that the core reads; rules in lists by node until all are known. Node 0 is none. */
class Trie {
  readonly nodes: Uint8Array;
  used = 1;
  private readonly view: DataView;
  private readonly keys: Uint8Array;
  private readonly lengths: Uint8Array;
  private readonly rules: CheckedRule[][] = [];
  private count = 0;

  constructor(rules: number) {
    const most = 2 * rules + 1;
    this.nodes = new Uint8Array(most * AccessNode.bytes);
    this.view = new DataView(this.nodes.buffer);
    // Network order, beside the host order of the nodes: prefixes are compared byte by byte while they are put in.
    this.keys = new Uint8Array(most * 16);
    this.lengths = new Uint8Array(most);
  }

  /** The node of a prefix at or below `root`; a root of its own when that is 0. */
  add(root: number, address: Uint8Array, length: number): number {
    if (root === 0) return this.create(address, length);
    let parent = 0;
    let at = root;
    for (;;) {
      const own = this.lengths[at] ?? 0;
      const common = this.common(at, address, Math.min(own, length));
      if (common < own) return this.split(parent, at, address, length, common);
      if (own === length) return at;
      const next = this.child(at, bitOf(address, own));
      if (next === 0) {
        const created = this.create(address, length);
        this.link(at, bitOf(address, own), created);
        return created;
      }
      parent = at;
      at = next;
    }
  }

  /** Puts a node between `parent` and `at`: the prefix itself, or where its path and that of `at` part. */
  private split(parent: number, at: number, address: Uint8Array, length: number, common: number): number {
    const created = this.create(address, length);
    const between = common === length ? created : this.create(address, common);
    this.link(parent, bitOf(address, this.lengths[parent] ?? 0), between);
    this.link(between, bitOf(this.keys.subarray(at * 16, at * 16 + 16), common), at);
    if (between !== created) this.link(between, bitOf(address, common), created);
    return created;
  }

  rule(node: number, rule: CheckedRule, isLast = false): void {
    const rules = (this.rules[node] ??= []);
    if (rules.length >= RULES_PER_PREFIX_MAX + (isLast ? 1 : 0))
      throw new RangeError(`more than ${RULES_PER_PREFIX_MAX} rules for one prefix`);
    rules.push(rule);
    this.count++;
  }

  /** The rules in the order of the nodes, which are told where theirs are. */
  laidOut(): Uint8Array {
    const bytes = new Uint8Array(this.count * AccessRule.bytes);
    const view = new DataView(bytes.buffer);
    let at = 0;
    for (let node = 1; node < this.used; node++) {
      const rules = this.rules[node] ?? [];
      this.view.setUint32(node * AccessNode.bytes + AccessNode.at.rules, at, true);
      this.view.setUint16(node * AccessNode.bytes + AccessNode.at.count, rules.length, true);
      for (const { protocol, action, firstPort, lastPort } of rules) {
        const row = at++ * AccessRule.bytes;
        bytes[row + AccessRule.at.protocol] = protocol;
        bytes[row + AccessRule.at.action] = action;
        view.setUint16(row + AccessRule.at.firstPort, firstPort, true);
        view.setUint16(row + AccessRule.at.lastPort, lastPort, true);
      }
    }
    return bytes;
  }

  private create(address: Uint8Array, length: number): number {
    const node = this.used++;
    const key = this.keys.subarray(node * 16, node * 16 + 16);
    const whole = length >> 3;
    key.set(address.subarray(0, whole));
    if ((length & 7) !== 0) key[whole] = (address[whole] ?? 0) & (0xff00 >> (length & 7));
    this.lengths[node] = length;
    const half = new DataView(key.buffer, key.byteOffset, 16);
    const at = node * AccessNode.bytes;
    this.view.setBigUint64(at + AccessNode.at.high, half.getBigUint64(0), true);
    this.view.setBigUint64(at + AccessNode.at.low, half.getBigUint64(8), true);
    this.view.setUint16(at + AccessNode.at.length, length, true);
    return node;
  }

  /** Leading bits that the prefix of a node and an address have in common, `most` at most. */
  private common(node: number, address: Uint8Array, most: number): number {
    for (let byte = 0; byte * 8 < most; byte++) {
      const other = (this.keys[node * 16 + byte] ?? 0) ^ (address[byte] ?? 0);
      if (other !== 0) return Math.min(most, byte * 8 + Math.clz32(other) - 24);
    }
    return most;
  }

  private child(node: number, bit: number): number {
    return this.view.getUint32(node * AccessNode.bytes + (bit === 0 ? AccessNode.at.left : AccessNode.at.right), true);
  }

  private link(node: number, bit: number, child: number): void {
    this.view.setUint32(node * AccessNode.bytes + (bit === 0 ? AccessNode.at.left : AccessNode.at.right), child, true);
  }
}

/** True when two images have the same lists in the same order. */
export function isSameAccess(one: readonly AccessListInput[], other: readonly AccessListInput[]): boolean {
  return (
    one.length === other.length &&
    one.every((list, index) => {
      const twin = other[index];
      if (twin === undefined || list.id !== twin.id || list.otherwise !== twin.otherwise) return false;
      return (
        list.rules.length === twin.rules.length && list.rules.every((rule, at) => isSameRule(rule, twin.rules[at]))
      );
    })
  );
}

function isSameRule(one: AccessRuleInput, other: AccessRuleInput | undefined): boolean {
  return (
    other !== undefined &&
    one.cidr === other.cidr &&
    one.action === other.action &&
    one.protocol === other.protocol &&
    one.firstPort === other.firstPort &&
    one.lastPort === other.lastPort
  );
}

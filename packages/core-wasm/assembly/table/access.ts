// Access lists: prefixes in a path-compressed binary trie, shared by all lists of the image. Of the rules that fit a packet the one under
// the longest prefix counts, and under one prefix the first. At most one node a bit is looked at.
import { ACCESS_NODE_BYTES, ACCESS_RULE_BYTES, AccessNode, AccessRule } from '../layout.gen';
import { accessNodes, accessRules } from '../memory';

const ADDRESS_BITS: u32 = 128;

export function isLetIn(first: u32, address: usize, protocol: u32, port: u32): bool {
  const high = bswap<u64>(load<u64>(address));
  const low = bswap<u64>(load<u64>(address, 8));
  let isIn = false;
  let index = first;
  while (index != 0) {
    const node = AccessNode.at(accessNodes + <usize>index * ACCESS_NODE_BYTES);
    const length: u32 = node.length;
    if (!covers(node, length, high, low)) break;
    const rule = firstRule(node, protocol, port);
    if (rule != 0) isIn = AccessRule.at(rule).action != 0;
    if (length >= ADDRESS_BITS) break;
    const half = length < 64 ? high : low;
    index = (half >> <u64>(63 - (length & 63))) & 1 ? node.right : node.left;
  }
  return isIn;
}

function covers(node: AccessNode, length: u32, high: u64, low: u64): bool {
  if (length <= 64) return length == 0 || (high ^ node.high) >> <u64>(64 - length) == 0;
  return high == node.high && (low ^ node.low) >> <u64>(128 - length) == 0;
}

function firstRule(node: AccessNode, protocol: u32, port: u32): usize {
  let at = accessRules + <usize>node.rules * ACCESS_RULE_BYTES;
  for (let left: u32 = node.count; left != 0; left--) {
    const rule = AccessRule.at(at);
    const isOfProtocol = rule.protocol == 0 || <u32>rule.protocol == protocol;
    if (isOfProtocol && port >= <u32>rule.firstPort && port <= <u32>rule.lastPort) return at;
    at += ACCESS_RULE_BYTES;
  }
  return 0;
}

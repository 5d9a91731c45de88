// Records of access lists: one path-compressed binary trie over all lists of an image, IPv4 as ::ffff:a.b.c.d.
import { record } from './record.ts';

export const AccessNode = record(
  'AccessNode',
  32,
  'A prefix of the access lists, path-compressed: longer prefixes hang below. Node 0 ends a path.',
  {
    high: ['u64', 'Prefix, first half, host order; bits behind the length are 0.'],
    low: ['u64', 'Second half.'],
    left: ['u32', 'Node below whose next bit is 0.'],
    right: ['u32', 'Node below whose next bit is 1.'],
    rules: ['u32', 'First AccessRule of this very prefix.'],
    length: ['u16', 'Bits of the prefix, 0 to 128.'],
    count: ['u16', 'Rules of it; 0 where two paths only part.'],
  },
);

export const AccessRule = record(
  'AccessRule',
  8,
  'What is let in or kept out under a prefix; the first that fits counts.',
  {
    protocol: ['u8', 'IP protocol, 0: any.'],
    action: ['u8', '1: let in. 0: keep out.'],
    firstPort: ['u16', 'First port of the VIP.'],
    lastPort: ['u16', 'Last one.'],
  },
);

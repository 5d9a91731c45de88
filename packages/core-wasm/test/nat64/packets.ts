// Packets in the words of the NAT64 RFCs: those of test/headers.ts, and embedded addresses.
import { addressBytes } from '../../../../tools/testkit/build.ts';

export { fragmentHeader, icmp, ipv4, withExtensions } from '../headers.ts';

/** `64:ff9b::a.b.c.d` */
export const embedded = (address4: string): string => {
  const [a = 0, b = 0, c = 0, d = 0] = addressBytes(address4);
  return `64:ff9b::${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
};

// How every connection to a target is opened, whatever is spoken on it: from its source address (data-plane.md P21), without Nagle's delay.
import type { TcpNetConnectOpts } from 'node:net';
import type { TargetIdentity } from '../upstream.ts';

export function socketOptions({ address, port, source }: TargetIdentity): TcpNetConnectOpts {
  return {
    host: address,
    port,
    ...(source === null ? {} : { localAddress: source }),
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
    autoSelectFamily: false,
  };
}

// What relay listeners share with the rest of the proxy.
import type { Limits } from '../limits.ts';
import type { Wheel } from '../wheel.ts';
import type { ProxyProtocol } from './proxy-protocol.ts';

export interface RelayContext {
  readonly limits: Limits;
  readonly wheel: Wheel;
  readonly proxyProtocol: ProxyProtocol;
  readonly count: (code: string) => void;
}

// A request that is walked without being sent: the same phases on the same tables, with nobody at either end. For `explain` and for
// candidate images. Takes no tokens, moves no scheduler.
import { createCounters } from './counters.ts';
import type { CompiledListener } from './image.ts';
import { identityFields } from './phase/accept.ts';
import { type Downstream, Exchange, type ProxyContext } from './state.ts';

export interface DryClient {
  readonly address: string;
  readonly port: number;
  readonly vip: string;
  readonly vport: number;
  readonly scheme: 'http' | 'https';
}

/** `takesTokens`: rates are asked for real, as those of a candidate image are nobody else's. */
export function dryExchange(
  listener: CompiledListener | null,
  client: DryClient,
  context: Pick<ProxyContext, 'limits' | 'stickyKey'>,
  takesTokens: boolean,
): Exchange {
  const identity = identityFields(client.address, client.scheme);
  const downstream = {
    clientAddress: client.address,
    clientPort: client.port,
    vip: client.vip,
    vport: client.vport,
    scheme: client.scheme,
    isHttp2: false,
    connectionId: 0,
    requestCount: 1,
    secure: null,
    identityFields: identity,
    identityTail: `${identity}X-Forwarded-For: ${client.address}\r\n\r\n`,
    listener,
    canKeepAlive: true,
    write() {},
    pause() {},
    resume() {},
  } as unknown as Downstream;
  const proxy = { ...context, counters: createCounters(), filters: [], accessLog: null } as unknown as ProxyContext;
  const exchange = new Exchange(proxy, downstream);
  exchange.isDry = !takesTokens;
  return exchange;
}

/** The bytes of a request as a client would send them. */
export function requestBytesOf(
  method: string,
  target: string,
  host: string,
  headers: readonly (readonly [string, string])[],
): Buffer {
  const fields = headers.filter(([name]) => name.toLowerCase() !== 'host');
  const own = headers.find(([name]) => name.toLowerCase() === 'host')?.[1] ?? host;
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return Buffer.from(`${method} ${target} HTTP/1.1\r\nHost: ${own}\r\n${lines}\r\n`, 'latin1');
}

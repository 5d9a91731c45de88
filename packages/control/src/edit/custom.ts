// Personalised configs at the edge (tencent-cloud.md E4): what a proxy could not do is refused with line and column.
import { type ListenerProtocol, parseCustomConfig, SyntaxProblem } from '@openclb/model';
import { reject } from './context.ts';

/** `protocol` of the listener; absent: a load balancer's. */
export function checkCustomConfig(text: string, protocol?: ListenerProtocol): void {
  if (protocol !== undefined && protocol !== 'HTTP' && protocol !== 'HTTPS') {
    reject('/customConfig', 'belongs to HTTP and HTTPS listeners');
  }
  try {
    parseCustomConfig(text);
  } catch (error) {
    if (error instanceof SyntaxProblem) reject('/customConfig', error.message);
    throw error;
  }
}

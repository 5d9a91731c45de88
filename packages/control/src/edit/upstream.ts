// What schemas cannot say about how a rule speaks to its targets (model/upstream-policy.ts).
import type { RulePolicy, RuleInput } from '@openclb/model';
import type { StoredListener } from '../desired/state.ts';
import { reject } from './context.ts';

export function checkUpstreamPolicy(
  { forward, hedge, retry, stickiness, timeouts }: RulePolicy,
  scheduler: NonNullable<RuleInput['scheduler']>,
  listener: Pick<StoredListener, 'http2'>,
): void {
  // tencent-cloud.md E2: other schedulers have a place of their own for every client.
  if (stickiness !== undefined && scheduler !== 'wrr') {
    reject(
      '/policy/stickiness',
      `needs the scheduler wrr, not ${scheduler}`,
      'ip-hash and maglev bind clients themselves.',
    );
  }
  if (forward !== undefined) checkForward(forward, listener);
  if (hedge !== undefined && (hedge.delayMs === undefined) === (hedge.percentile === undefined)) {
    reject('/policy/hedge', 'needs exactly one of delayMs and percentile');
  }
  const whole = timeouts?.requestMs;
  if (whole !== undefined && retry?.perTryMs !== undefined && retry.perTryMs > whole) {
    reject('/policy/retry/perTryMs', `is longer than the whole request may take, ${whole} ms`);
  }
}

function checkForward(forward: NonNullable<RulePolicy['forward']>, listener: Pick<StoredListener, 'http2'>): void {
  const { type, serverName, verify, authority } = forward;
  const isTls = type === 'https' || type === 'grpcs';
  if (!isTls && (serverName ?? verify ?? authority) !== undefined) {
    reject('/policy/forward', `${type} has no TLS, so nothing of it can be named or verified`);
  }
  if (verify === true && serverName === undefined) {
    reject('/policy/forward/serverName', 'is needed to verify a certificate: targets are addresses');
  }
  if (authority !== undefined && verify !== true) reject('/policy/forward/authority', 'is used by verify only');
  if (type.startsWith('grpc') && listener.http2 === false) {
    reject('/policy/forward/type', `${type} needs HTTP/2 on the listener`, 'Set http2 of the listener to true.');
  }
}

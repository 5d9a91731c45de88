// Targets from the controller: one target group, asked with a long poll that is answered when the group changes.
import { setTimeout as sleep } from 'node:timers/promises';
import { checkServiceAnswer } from '@openclb/model';
import { SERVICE_TARGETS_MAX, type SourceEvents, type TargetSource } from './source.ts';

export interface ControllerOptions {
  /** `http://controller:7000` */
  readonly url: string;
  /** Join token of the cluster, as nodes present it. */
  readonly token: string;
  /** Id of the target group. */
  readonly targetGroup: string;
  /** The VPC that this machine is in; its targets are reached at their own address. Left out: physical targets. */
  readonly vpc?: number;
}

const FIRST_TIMEOUT_MS = 5_000;
/** The controller answers after 25 s at the latest. */
const POLL_TIMEOUT_MS = 40_000;
const RETRY_MS_MAX = 30_000;
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;

export function fromController(options: ControllerOptions): TargetSource {
  const stopping = new AbortController();
  let tag = '';
  const poll = async (events: SourceEvents, timeoutMs: number): Promise<void> => {
    const answer = await askController(
      options,
      tag,
      AbortSignal.any([stopping.signal, AbortSignal.timeout(timeoutMs)]),
    );
    if (stopping.signal.aborted || answer === null) return;
    tag = answer.tag;
    events.targets({ targets: answer.targets, check: answer.check });
  };
  const follow = async (events: SourceEvents): Promise<void> => {
    for (let failures = 0; !stopping.signal.aborted;) {
      try {
        await poll(events, POLL_TIMEOUT_MS);
        failures = 0;
      } catch (error) {
        if (stopping.signal.aborted) return;
        events.failed(error as Error);
        const pauseMs = Math.min(RETRY_MS_MAX, 500 * 2 ** failures++);
        await sleep(pauseMs * (0.5 + Math.random() / 2), undefined, { signal: stopping.signal, ref: false }).catch(
          () => {},
        );
      }
    }
  };
  return {
    name: `target group ${options.targetGroup}`,
    async start(events) {
      await poll(events, FIRST_TIMEOUT_MS);
      void follow(events);
    },
    close: () => stopping.abort(),
  };
}

async function askController(
  { url, token, targetGroup, vpc = 0 }: ControllerOptions,
  tag: string,
  signal: AbortSignal,
) {
  const { request } = await import('undici');
  const place = new URL(`/link/v1/services/${encodeURIComponent(targetGroup)}`, url);
  place.searchParams.set('vpc', String(vpc));
  if (tag !== '') place.searchParams.set('tag', tag);
  const answer = await request(place, { headers: { authorization: `Bearer ${token}` }, signal });
  let text = '';
  for await (const chunk of answer.body.setEncoding('utf8')) {
    text += String(chunk);
    if (text.length > ANSWER_BYTES_MAX)
      throw new Error(`the controller's answer is longer than ${ANSWER_BYTES_MAX} bytes`);
  }
  if (answer.statusCode === 204) return null;
  if (answer.statusCode !== 200) throw new Error(`the controller answered ${answer.statusCode}: ${text.slice(0, 300)}`);
  const service: unknown = JSON.parse(text);
  const problem = checkServiceAnswer(service);
  if (problem !== null) throw new Error(`the controller's answer is not well formed: ${problem}`);
  const { targets } = service as { targets: unknown[] };
  if (targets.length > SERVICE_TARGETS_MAX)
    throw new Error(`${targetGroup} has more than ${SERVICE_TARGETS_MAX} targets`);
  return service as import('@openclb/model').ServiceAnswer;
}

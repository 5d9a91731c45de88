// Shadow config: a candidate image decides on live traffic beside the active one, and nothing else: no target hears of it.
// Route, target group, rewriting and verdict are compared; differences are counted by kind, with examples.
import type { Head } from './codec/h1.ts';
import { dryExchange } from './dry.ts';
import type { CompiledImage, CompiledListener } from './image.ts';
import { FAILURES, type FailureCode } from './phase/fail.ts';
import { route } from './phase/route.ts';
import type { Exchange, ProxyContext } from './state.ts';

/** `listener`: the candidate has none here. `verdict`: refused, answered or forwarded otherwise. */
export type DifferenceKind = 'listener' | 'verdict' | 'rule' | 'group' | 'targets' | 'rewrite';

export interface ShadowExample {
  readonly kind: DifferenceKind;
  readonly time: number;
  readonly request: string;
  readonly active: string;
  readonly candidate: string;
}

export interface ShadowReport {
  readonly revision: number;
  readonly compared: number;
  readonly differences: Readonly<Partial<Record<DifferenceKind, number>>>;
  /** The newest of each kind. */
  readonly examples: readonly ShadowExample[];
}

const EXAMPLES_PER_KIND = 5;
const TEXT_CHARS_MAX = 300;

interface Decision {
  readonly verdict: string;
  readonly rule: string;
  readonly group: string;
  readonly targets: string;
  readonly rewrite: string;
}

export class Shadow {
  readonly #image: CompiledImage;
  readonly #context: Pick<ProxyContext, 'limits' | 'stickyKey'>;
  readonly #examples = new Map<DifferenceKind, ShadowExample[]>();
  readonly #differences: Partial<Record<DifferenceKind, number>> = {};
  #compared = 0;

  constructor(image: CompiledImage, context: Pick<ProxyContext, 'limits' | 'stickyKey'>) {
    this.#image = image;
    this.#context = context;
  }

  /** After the active image has routed `exchange`; `failure` is what it said. Must not throw, and changes nothing of it. */
  compare(exchange: Exchange, head: Head | null, failure: FailureCode | null): void {
    this.#compared++;
    const listener = this.#listenerOf(exchange);
    const active = decisionOf(exchange, failure);
    if (listener === null) {
      this.#note('listener', exchange, active.verdict, 'no listener: the connection is closed');
      return;
    }
    const { downstream } = exchange;
    const client = {
      address: downstream.clientAddress,
      port: downstream.clientPort,
      vip: downstream.vip,
      vport: downstream.vport,
      scheme: downstream.scheme,
    };
    const shadow = dryExchange(listener, client, this.#context, true);
    shadow.reset();
    shadow.listener = listener;
    shadow.bodyBytesMax = listener.limits.bodyBytesMax;
    for (const key of ['method', 'minor', 'host', 'target', 'isAbsolute', 'filtered', 'contentLength'] as const) {
      (shadow as unknown as Record<string, unknown>)[key] = exchange[key];
    }
    // The active image may not have needed what the candidate does.
    if (shadow.host === '' && head !== null && head.hostAt >= 0) shadow.host = head.value(head.hostAt);
    const candidate = decisionOf(shadow, route(shadow, head));
    shadow.plan?.end();
    const kind = kindOf(active, candidate);
    if (kind === null) return;
    this.#note(kind, exchange, textOf(active), textOf(candidate), shadow);
  }

  #listenerOf({ downstream: { vip, vport }, listener }: Exchange): CompiledListener | null {
    const any = vip.includes(':') ? '::' : '0.0.0.0';
    // Port 0 is the kernel's choice, so such a listener is known by its id.
    const here = this.#image.listeners.filter(({ id, port }) => port === vport || (port === 0 && id === listener?.id));
    return here.find(({ vips }) => vips.includes(vip)) ?? here.find(({ vips }) => vips.includes(any)) ?? null;
  }

  #note(kind: DifferenceKind, exchange: Exchange, active: string, candidate: string, shadow = exchange): void {
    this.#differences[kind] = (this.#differences[kind] ?? 0) + 1;
    const known = this.#examples.get(kind) ?? [];
    const request = `${exchange.method} ${exchange.downstream.scheme}://${shadow.host}${shadow.target}`;
    known.push({ kind, time: Date.now(), request: request.slice(0, TEXT_CHARS_MAX), active, candidate });
    if (known.length > EXAMPLES_PER_KIND) known.shift();
    this.#examples.set(kind, known);
  }

  report(): ShadowReport {
    return {
      revision: this.#image.source.generation.revision,
      compared: this.#compared,
      differences: { ...this.#differences },
      examples: [...this.#examples.values()].flat(),
    };
  }
}

function decisionOf({ answer, forwardTarget, rule }: Exchange, failure: FailureCode | null): Decision {
  const location = answer === null ? undefined : /^Location: (.*)\r$/m.exec(answer.fields)?.[1];
  const own =
    answer === null ? 'forwarded' : `answered ${answer.status}${location === undefined ? '' : ` to ${location}`}`;
  return {
    verdict: failure === null ? own : `refused ${FAILURES[failure].status} ${failure}`,
    rule: rule === null ? '' : `${rule.name} ${rule.domain}${rule.path}`,
    group: rule?.group.name ?? '',
    targets: (rule?.group.members ?? [])
      .filter(({ weight }) => weight > 0)
      .map(({ target: { identity } }) => `${identity.address}:${identity.port}`)
      .sort()
      .join(' '),
    rewrite: forwardTarget,
  };
}

function kindOf(active: Decision, candidate: Decision): DifferenceKind | null {
  for (const kind of ['verdict', 'rule', 'group', 'targets', 'rewrite'] as const) {
    if (active[kind] !== candidate[kind]) return kind;
    // What is not forwarded has no target to compare.
    if (kind === 'rule' && active.verdict !== 'forwarded') return null;
  }
  return null;
}

function textOf({ verdict, rule, group, targets, rewrite }: Decision): string {
  if (verdict !== 'forwarded') return `${verdict}${rule === '' ? '' : ` by ${rule}`}`.slice(0, TEXT_CHARS_MAX);
  const path = rewrite === '' ? '' : ` as ${rewrite}`;
  return `rule ${rule}, group ${group} (${targets})${path}`.slice(0, TEXT_CHARS_MAX);
}

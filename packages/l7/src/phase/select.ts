// select: the target that the client is bound to, else the one that the group's scheduler names; never one that has failed this
// request already. Leaves `member`.
import type { Member } from '../scheduler.ts';
import type { Exchange } from '../state.ts';
import type { Target } from '../upstream.ts';
import type { FailureCode } from './fail.ts';

export function select(exchange: Exchange): FailureCode | null {
  const { pinned, proxy, tried } = exchange;
  const rule = exchange.rule!;
  const sticky = rule.policy?.sticky ?? null;
  if (pinned !== '' && sticky !== null) {
    const member = sticky.find(pinned, rule.group, proxy.stickyKey);
    if (member !== null && !tried.includes(member.target)) {
      exchange.member = member;
      return null;
    }
  }
  exchange.member = pickFor(exchange, tried);
  return exchange.member === null ? 'no-target' : null;
}

/** What the scheduler of the rule names, but none of `tried`. */
export function pickFor(exchange: Exchange, tried: readonly Target[]): Member | null {
  const { downstream, listener } = exchange;
  const rule = exchange.rule!;
  const sticky = rule.policy?.sticky ?? null;
  return rule.group.pick({
    scheduler: sticky?.type === 'source' ? 'maglev' : rule.scheduler,
    hashKey: exchange.hashKey === '' ? downstream.clientAddress : exchange.hashKey,
    loadMax: rule.policy?.hash?.boundedLoad ?? 0,
    clientAddress: downstream.clientAddress,
    clientPort: downstream.clientPort,
    vip: downstream.vip,
    vport: downstream.vport,
    listener: listener!.name,
    tried,
  });
}

// select: the target that the client is bound to, else the one that the group's scheduler names; never one that has failed this
// request already. Leaves `member`.
import type { Exchange } from '../state.ts';
import type { FailureCode } from './fail.ts';

export function select(exchange: Exchange): FailureCode | null {
  const { downstream, listener, pinned, proxy, tried } = exchange;
  const rule = exchange.rule!;
  const sticky = rule.policy?.sticky ?? null;
  if (pinned !== '' && sticky !== null) {
    const member = sticky.find(pinned, rule.group, proxy.stickyKey);
    if (member !== null && !tried.includes(member.target)) {
      exchange.member = member;
      return null;
    }
  }
  exchange.member = rule.group.pick({
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
  return exchange.member === null ? 'no-target' : null;
}

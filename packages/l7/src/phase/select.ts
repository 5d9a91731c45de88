// select: the group's scheduler names a target that has not failed this request yet. Leaves `member`.
import type { Exchange } from '../state.ts';
import type { FailureCode } from './fail.ts';

export function select(exchange: Exchange): FailureCode | null {
  const { downstream, rule, listener } = exchange;
  exchange.member = rule!.group.pick({
    scheduler: rule!.scheduler,
    clientAddress: downstream.clientAddress,
    clientPort: downstream.clientPort,
    vip: downstream.vip,
    vport: downstream.vport,
    listener: listener!.name,
    tried: exchange.tried,
  });
  return exchange.member === null ? 'no-target' : null;
}

// Client-side balancing: an undici Dispatcher with the schedulers, health checks and retries of the proxy, and its target sources.
export { Balancer, type BalancerCounters, type BalancerOptions, createBalancer } from './balancer.ts';
export { type ControllerOptions, fromController } from './controller.ts';
export { type DnsOptions, fromDns } from './dns.ts';
export { DnsFailure } from './dns/query.ts';
export { NoTarget } from './request.ts';
export { serviceImage, type ServiceOptions } from './service.ts';
export {
  listed,
  type ListedTarget,
  type ServiceSnapshot,
  type ServiceTarget,
  type SourceEvents,
  type TargetSource,
} from './source.ts';

// The public entry: a proxy as a library, and the types of what goes in and comes out.
export { createProxy, type Proxy, type ProxyOptions } from './proxy.ts';
export { ImageRefused } from './image.ts';
export { DEFAULT_LIMITS, type Limits } from './limits.ts';
export type { SimpleConfig, SimpleRoute, SimpleTarget } from './simple.ts';
export type { Counters } from './counters.ts';
export type { AccessRecord, HealthRecord } from './log/record.ts';
export type { FailureCode } from './phase/fail.ts';
export type { Explanation, ExplainRequest } from './explain.ts';
export type { TargetHealth } from './health.ts';
export { probe, type ProbeOutcome } from './probe/probe.ts';
export type { ShadowExample, ShadowReport } from './shadow.ts';
export type { RequestExplanation, RequestToExplain } from './explain-request.ts';
export type { SecureIdentity, TlsProvider } from './phase/identify.ts';
export type { CertificateLookup, CertificatePair } from './tls.ts';
export type { ConnectionRecord } from './relay/context.ts';
export { proxyHeader, type ProxyProtocol } from './relay/proxy-protocol.ts';
export type { SchedulerName } from './scheduler.ts';
export type { BindMode } from './listener.ts';
export {
  createLogWriter,
  createSyslogWriter,
  type LogWriter,
  type LogWriterOptions,
  type SyslogOptions,
} from './log/writer.ts';
export { createLogStore, type LogStore, type LogStoreOptions } from './log/store.ts';
export type { WorkerModule } from './scale/messages.ts';

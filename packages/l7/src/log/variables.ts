// Records → the variables of logs by name (tencent-cloud.md E6; model/log.ts says what each is).
import type { ConnectionLogFieldName, HealthLogFieldName, LogFieldName } from '@openclb/model';
import type { ConnectionRecord } from '../relay/context.ts';
import { normalHost } from '../routes.ts';
import type { AccessRecord, HealthRecord } from './record.ts';

export type Value = string | number;

const seconds = (ms: number): number => (ms < 0 ? -1 : Math.round(ms) / 1000);

export const LOG_VALUES: Readonly<Record<LogFieldName, (record: AccessRecord) => Value>> = {
  stgw_request_id: (record) => record.requestId,
  time_local: (record) => timeText(record.time),
  protocol_type: protocolOf,
  server_addr: (record) => record.vip,
  server_port: (record) => record.vport,
  server_name: (record) => record.domain,
  remote_addr: (record) => record.remoteAddress,
  remote_port: (record) => record.remotePort,
  status: (record) => record.status,
  upstream_addr: (record) => record.upstreamAddress,
  upstream_status: (record) => record.upstreamStatus,
  proxy_host: (record) => record.group,
  request: (record) => `${record.method} ${record.target} HTTP/${record.version}`,
  request_method: (record) => record.method,
  request_uri: (record) => record.target,
  uri: (record) => {
    const mark = record.target.indexOf('?');
    return mark < 0 ? record.target : record.target.slice(0, mark);
  },
  request_length: (record) => record.requestBytes,
  bytes_sent: (record) => record.responseBytes,
  http_host: (record) => record.host,
  host: (record) => normalHost(record.host),
  http_user_agent: (record) => record.userAgent,
  http_referer: (record) => record.referer,
  request_time: (record) => seconds(record.requestMs),
  upstream_response_time: (record) => seconds(record.upstreamTotalMs),
  upstream_connect_time: (record) => seconds(record.connectMs),
  upstream_header_time: (record) => (record.upstreamMs < 0 ? -1 : seconds(record.connectMs + record.upstreamMs)),
  tcpinfo_rtt: () => 0,
  connection: (record) => record.connection,
  connection_requests: (record) => record.connectionRequests,
  ssl_handshake_time: (record) => seconds(record.tls?.handshakeMs ?? 0),
  ssl_cipher: (record) => record.tls?.cipher ?? '',
  ssl_protocol: (record) => record.tls?.protocol ?? '',
  ssl_session_reused: (record) => (record.tls?.isReused === true ? 'r' : '.'),
  vip_vpcid: () => -1,
  load_balancer: (record) => record.loadBalancer,
  listener: (record) => record.listener,
  rule: (record) => record.rule,
  attempts: (record) => record.attempts,
  grpc_status: (record) => record.grpcStatus,
  failure: (record) => record.failure,
};

function protocolOf({ isTunnel, scheme, version }: AccessRecord): string {
  if (isTunnel) return scheme === 'http' ? 'WS' : 'WSS';
  return version === '2.0' ? 'HTTP2' : scheme.toUpperCase();
}

export const HEALTH_VALUES: Readonly<Record<HealthLogFieldName, (record: HealthRecord) => Value>> = {
  time: (record) => timeText(record.time),
  protocol: (record) => record.protocol.toUpperCase(),
  vip: (record) => record.vip,
  vport: (record) => record.vport,
  vpcid: () => -1,
  rsip: (record) => record.address,
  rsport: (record) => record.port,
  rs_vpcid: (record) => record.net,
  status: (record) => String(record.isAlive),
  domain: (record) => record.domain,
  url: (record) => record.path,
  reason: (record) => record.reason,
};

export const CONNECTION_VALUES: Readonly<Record<ConnectionLogFieldName, (record: ConnectionRecord) => Value>> = {
  time: (record) => timeText(record.time),
  protocol: (record) => record.protocol.toUpperCase().replace('-', '_'),
  listener: (record) => record.listener,
  server_addr: (record) => record.vip,
  server_port: (record) => record.vport,
  remote_addr: (record) => record.remoteAddress,
  remote_port: (record) => record.remotePort,
  upstream_addr: (record) => record.upstreamAddress,
  attempts: (record) => record.attempts,
  bytes_received: (record) => record.bytesIn,
  bytes_sent: (record) => record.bytesOut,
  duration: (record) => seconds(record.durationMs),
  failure: (record) => record.failure,
};

let clockSecond = -1;
let clockText = '';

/** Seconds do not change often, so their text is made once. */
export function timeText(ms: number): string {
  const second = Math.floor(ms / 1000);
  if (second !== clockSecond) {
    clockSecond = second;
    clockText = new Date(second * 1000).toISOString().replace('.000Z', '+00:00');
  }
  return clockText;
}

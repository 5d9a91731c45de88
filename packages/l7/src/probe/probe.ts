// One probe of one target (tencent-cloud.md E1, C-HealthCheck): by kernel handshake, datagram, HTTP request or gRPC call, from the
// address that names the target's VPC. A probe never throws and always ends within the check's time-out.
import dgram from 'node:dgram';
import net from 'node:net';
import tls from 'node:tls';
import { type CheckSpec, MYSQL_PROBE_USER } from '@openclb/model';
import { probeMysql } from '../relay/mysql/probe.ts';
import type { TargetIdentity } from '../upstream.ts';
import { probeGrpc } from './grpc.ts';
import { probeHttp } from './http.ts';

export type ProbeOutcome = { readonly isGood: true } | { readonly isGood: false; readonly reason: string };

export function probe(identity: TargetIdentity, spec: CheckSpec): Promise<ProbeOutcome> {
  const port = spec.port ?? identity.port;
  switch (spec.type) {
    case 'http':
    case 'https':
      return probeHttp(socketTo(identity, port, spec.type === 'https' ? 'http/1.1' : null), identity, port, spec);
    case 'grpc':
    case 'grpcs':
      return probeGrpc(socketTo(identity, port, spec.type === 'grpcs' ? 'h2' : null), identity, port, spec);
    case 'udp':
      return probeUdp(identity, port, spec.timeoutMs);
    case 'mysql':
      return probeMysql(identity, port, spec.mysql?.user ?? MYSQL_PROBE_USER, spec.timeoutMs);
    default:
      // Echo needs a raw socket, which a proxy does not have: the kernel's handshake says the same of the machine.
      return probeTcp(identity, port, spec.timeoutMs);
  }
}

/** A connection of its own for each probe: a kept one would say nothing of whether clients can connect. `alpn`: over TLS. */
function socketTo(identity: TargetIdentity, port: number, alpn: string | null): net.Socket {
  const options = { host: identity.address, port, autoSelectFamily: false, ...localOf(identity) };
  // Whose certificate it is matters to requests (`forward.verify`); a probe asks whether anybody answers.
  return alpn === null
    ? net.connect(options)
    : tls.connect({ ...options, ALPNProtocols: [alpn], rejectUnauthorized: false });
}

/** SYN, SYN/ACK, RST (E1). */
function probeTcp(identity: TargetIdentity, port: number, timeoutMs: number): Promise<ProbeOutcome> {
  const { promise, resolve } = Promise.withResolvers<ProbeOutcome>();
  const socket = net.connect({ host: identity.address, port, ...localOf(identity) });
  const timer = setTimeout(() => end({ isGood: false, reason: `no connection in ${timeoutMs} ms` }), timeoutMs);
  const end = (outcome: ProbeOutcome): void => {
    clearTimeout(timer);
    if (outcome.isGood) socket.resetAndDestroy();
    else socket.destroy();
    resolve(outcome);
  };
  socket.once('connect', () => end({ isGood: true }));
  socket.on('error', (error: NodeJS.ErrnoException) => end({ isGood: false, reason: error.code ?? error.message }));
  return promise;
}

/** Silence is health; "port unreachable" is not (E1). */
function probeUdp(identity: TargetIdentity, port: number, timeoutMs: number): Promise<ProbeOutcome> {
  const { promise, resolve } = Promise.withResolvers<ProbeOutcome>();
  const socket = dgram.createSocket(identity.address.includes(':') ? 'udp6' : 'udp4');
  const timer = setTimeout(() => end({ isGood: true }), timeoutMs);
  const end = (outcome: ProbeOutcome): void => {
    clearTimeout(timer);
    socket.close();
    resolve(outcome);
  };
  socket.once('error', (error: NodeJS.ErrnoException) => end({ isGood: false, reason: error.code ?? error.message }));
  socket.once('message', () => end({ isGood: true }));
  const connect = (): void => socket.connect(port, identity.address, () => socket.send('HEALTH CHECK'));
  if (identity.source === null) connect();
  else socket.bind({ address: identity.source }, connect);
  return promise;
}

function localOf(identity: TargetIdentity): { localAddress?: string } {
  return identity.source === null ? {} : { localAddress: identity.source };
}

// Active health checks from the address that names the target's VPC (P21), with Tencent's thresholds and markers (E1).
import dgram from 'node:dgram';
import net from 'node:net';
import { type CheckSpec, MYSQL_PROBE_USER } from '@openclb/model';
import type { CompiledImage } from './image.ts';
import { probeMysql } from './relay/mysql/probe.ts';
import type { Member } from './scheduler.ts';
import type { TargetIdentity } from './upstream.ts';

export interface TargetHealth {
  readonly group: string;
  readonly target: string;
  readonly address: string;
  readonly port: number;
  readonly health: Member['health'];
  /** Why the last probe failed; empty after a success. */
  readonly reason: string;
  /** Probes in a row that agree. */
  readonly streak: number;
}

interface Check {
  readonly groupId: string;
  readonly identity: TargetIdentity;
  readonly key: string;
  spec: CheckSpec;
  streak: number;
  wasGood: boolean;
  reason: string;
  timer: NodeJS.Timeout | null;
  isStopped: boolean;
}

export type ProbeOutcome = { readonly isGood: true } | { readonly isGood: false; readonly reason: string };

/** Exchanges of a health verdict, for logs. */
export type HealthListener = (health: TargetHealth) => void;

export class HealthChecks {
  readonly #checks = new Map<string, Check>();
  readonly #onChange: HealthListener;
  #image: CompiledImage | null = null;

  constructor(onChange: HealthListener) {
    this.#onChange = onChange;
  }

  /** Starts what is new, stops what is gone; what stays keeps its verdict and its rhythm. */
  apply(image: CompiledImage): void {
    this.#image = image;
    const wanted = new Set<string>();
    for (const row of image.source.groups) {
      if (row.check.type === 'none') continue;
      for (const { target } of image.groups.get(row.id)!.members) {
        const key = `${row.id} ${target.key}`;
        wanted.add(key);
        const known = this.#checks.get(key);
        if (known !== undefined) known.spec = row.check;
        else this.#start(key, row.id, target.identity, row.check);
      }
    }
    for (const [key, check] of this.#checks) if (!wanted.has(key)) this.#stop(check);
  }

  #start(key: string, groupId: string, identity: TargetIdentity, spec: CheckSpec): void {
    const check: Check = {
      key,
      groupId,
      identity,
      spec,
      streak: 0,
      wasGood: false,
      reason: '',
      timer: null,
      isStopped: false,
    };
    this.#checks.set(key, check);
    void this.#run(check);
  }

  async #run(check: Check): Promise<void> {
    const startedAt = performance.now();
    const outcome = await probe(check.identity, check.spec);
    if (check.isStopped) return;
    this.#note(check, outcome);
    const wait = Math.max(0, check.spec.intervalMs - (performance.now() - startedAt));
    check.timer = setTimeout(() => void this.#run(check), wait);
    check.timer.unref();
  }

  #note(check: Check, outcome: ProbeOutcome): void {
    check.streak = outcome.isGood === check.wasGood ? check.streak + 1 : 1;
    check.wasGood = outcome.isGood;
    check.reason = outcome.isGood ? '' : outcome.reason;
    const group = this.#image!.groups.get(check.groupId);
    const member = group?.members.find(({ target }) => `${check.groupId} ${target.key}` === check.key);
    if (group === undefined || member === undefined) return;
    const needed = outcome.isGood ? check.spec.healthyThreshold : check.spec.unhealthyThreshold;
    const verdict = outcome.isGood ? 'alive' : 'dead';
    if (member.health === verdict || check.streak < needed) return;
    member.health = verdict;
    group.refresh();
    this.#onChange(this.#describe(check, member));
  }

  #describe(check: Check, member: Member): TargetHealth {
    const { name, address, port } = check.identity;
    const group = this.#image!.groups.get(check.groupId)!.name;
    return { group, target: name, address, port, health: member.health, reason: check.reason, streak: check.streak };
  }

  list(): TargetHealth[] {
    const rows: TargetHealth[] = [];
    for (const group of this.#image?.groups.values() ?? []) {
      for (const member of group.members) {
        const check = this.#checks.get(`${group.id} ${member.target.key}`);
        const { name, address, port } = member.target.identity;
        rows.push({
          group: group.name,
          target: name,
          address,
          port,
          health: member.health,
          reason: check?.reason ?? '',
          streak: check?.streak ?? 0,
        });
      }
    }
    return rows;
  }

  #stop(check: Check): void {
    check.isStopped = true;
    if (check.timer !== null) clearTimeout(check.timer);
    this.#checks.delete(check.key);
  }

  close(): void {
    for (const check of this.#checks.values()) this.#stop(check);
  }
}

/** One probe; never throws and always ends within the check's time-out. */
export function probe(identity: TargetIdentity, spec: CheckSpec): Promise<ProbeOutcome> {
  const port = spec.port ?? identity.port;
  switch (spec.type) {
    case 'http':
      return probeHttp(identity, port, spec);
    case 'udp':
      return probeUdp(identity, port, spec.timeoutMs);
    case 'mysql':
      return probeMysql(identity, port, spec.mysql?.user ?? MYSQL_PROBE_USER, spec.timeoutMs);
    case 'tcp':
      return probeTcp(identity, port, spec.timeoutMs);
    default:
      // Echo needs a raw socket, which a proxy does not have: the kernel's handshake says the same of the machine.
      return probeTcp(identity, port, spec.timeoutMs);
  }
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

async function probeHttp(identity: TargetIdentity, port: number, spec: CheckSpec): Promise<ProbeOutcome> {
  const { method, path, host, codes } = spec.http ?? { method: 'HEAD', path: '/', codes: 2 | 4, host: undefined };
  const name = identity.address.includes(':') ? `[${identity.address}]` : identity.address;
  // Loaded when first needed: most uses of this package check nothing by HTTP.
  const { Client } = await import('undici');
  const client = new Client(`http://${name}:${port}`, {
    connect: { timeout: spec.timeoutMs },
    ...(identity.source === null ? {} : { localAddress: identity.source }),
    headersTimeout: spec.timeoutMs,
    bodyTimeout: spec.timeoutMs,
  });
  try {
    const response = await client.request({
      method,
      path,
      headers: { host: host ?? `${name}:${port}`, 'user-agent': 'clb-healthcheck' },
      signal: AbortSignal.timeout(spec.timeoutMs),
    });
    response.body.on('error', () => {});
    response.body.destroy();
    const isExpected = (codes & (1 << (Math.floor(response.statusCode / 100) - 1))) !== 0;
    return isExpected ? { isGood: true } : { isGood: false, reason: `status ${response.statusCode}` };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { isGood: false, reason: code === undefined ? message : String(code) };
  } finally {
    void client.destroy().catch(() => {});
  }
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

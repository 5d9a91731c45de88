// Targets from DNS: A and AAAA records with a given port, or SRV records (RFC 2782), asked again when their TTL is over.
// Of SRV records those of the lowest priority value are used. A failure keeps the last answer and is tried again with growing pauses.
import type { DnsAnswer, DnsRecord, QuestionType } from './dns/message.ts';
import { ask, DnsFailure } from './dns/query.ts';
import { SERVICE_TARGETS_MAX, type ServiceTarget, type SourceEvents, type TargetSource } from './source.ts';

export interface DnsOptions {
  /** For A and AAAA `orders.example.com`, for SRV `_http._tcp.orders.example.com`. Names are asked as they stand, without search list. */
  readonly name: string;
  /** Port of the targets; left out, SRV records are asked, which bring ports and weights. */
  readonly port?: number;
  /** Servers as `dns.setServers` takes them; those of the machine when left out. */
  readonly servers?: readonly string[];
  /** An answer is asked again no sooner than this, whatever its TTL; 1 s when left out. */
  readonly ttlMinMs?: number;
}

const TTL_MAX_SECONDS = 3600;
const RETRY_MS_MAX = 30_000;
const ALIASES_MAX = 8;
const WEIGHT_MAX = 100;

export function fromDns(options: DnsOptions): TargetSource {
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;
  let failures = 0;
  const ttlMinMs = options.ttlMinMs ?? 1000;
  const refresh = async (events: SourceEvents): Promise<void> => {
    const { targets, ttlSeconds } = await resolve(options);
    if (isClosed) return;
    failures = 0;
    events.targets({ targets });
    later(events, Math.max(ttlMinMs, ttlSeconds * 1000));
  };
  const later = (events: SourceEvents, ms: number): void => {
    timer = setTimeout(() => {
      refresh(events).catch((error: Error) => {
        if (isClosed) return;
        events.failed(error);
        later(events, Math.min(RETRY_MS_MAX, 1000 * 2 ** failures++));
      });
    }, ms);
    timer.unref();
  };
  return {
    name: `dns ${options.name}`,
    start: refresh,
    close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}

interface Resolved {
  readonly targets: readonly ServiceTarget[];
  readonly ttlSeconds: number;
}

async function resolve({ name, port, servers = [] }: DnsOptions): Promise<Resolved> {
  const found = port === undefined ? await services(servers, name) : await hosts(servers, name, port, 1);
  if (found.targets.length === 0)
    throw new DnsFailure(`${name} has no ${port === undefined ? 'SRV' : 'A or AAAA'} record`);
  if (found.targets.length > SERVICE_TARGETS_MAX)
    throw new DnsFailure(`${name} has more than ${SERVICE_TARGETS_MAX} targets`);
  return { targets: found.targets, ttlSeconds: Math.min(found.ttlSeconds, TTL_MAX_SECONDS) };
}

async function services(servers: readonly string[], name: string): Promise<Resolved> {
  const { answers } = await ask(servers, name, 'SRV');
  const rows = chain(answers, name).flatMap(({ data, ttlSeconds }) =>
    data.type === 'srv' && data.host !== '' ? [{ ...data, ttlSeconds }] : [],
  );
  const least = Math.min(...rows.map(({ priority }) => priority));
  const best = rows.filter(({ priority }) => priority === least);
  const most = Math.max(1, ...best.map(({ weight }) => weight));
  const parts = await Promise.all(best.map((row) => hosts(servers, row.host, row.port, shareOf(row.weight, most))));
  return {
    targets: parts.flatMap(({ targets }) => targets),
    ttlSeconds: Math.min(...rows.map(({ ttlSeconds }) => ttlSeconds), ...parts.map(({ ttlSeconds }) => ttlSeconds)),
  };
}

/** SRV weights go to 65535 and ours to 100. Weight 0 means "very little", not "drained" (RFC 2782). */
function shareOf(weight: number, most: number): number {
  return most <= WEIGHT_MAX ? Math.max(1, weight) : Math.max(1, Math.round((weight * WEIGHT_MAX) / most));
}

/** Both families at once. One that cannot be resolved is left out when the other can. */
async function hosts(servers: readonly string[], name: string, port: number, weight: number): Promise<Resolved> {
  const types: readonly QuestionType[] = ['A', 'AAAA'];
  const results = await Promise.allSettled(types.map((type) => ask(servers, name, type)));
  const answers = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  if (answers.length === 0) throw (results[0] as PromiseRejectedResult).reason;
  const records = answers.flatMap((answer) => chain(answer.answers, name));
  const targets = records.flatMap(({ data }) =>
    data.type === 'address' ? [{ address: data.address, port, weight }] : [],
  );
  return { targets, ttlSeconds: Math.min(...records.map(({ ttlSeconds }) => ttlSeconds), ...answers.map(negative)) };
}

function negative({ answers, negativeTtlSeconds }: DnsAnswer): number {
  return answers.length > 0 ? Infinity : (negativeTtlSeconds ?? 30);
}

/** The records of a name and of the aliases that it leads to; others that a server adds are not believed. */
function chain(records: readonly DnsRecord[], name: string): DnsRecord[] {
  const names = new Set([name.replace(/\.$/, '').toLowerCase()]);
  for (let step = 0; step < ALIASES_MAX; step++) {
    for (const { name: owner, data } of records) if (data.type === 'alias' && names.has(owner)) names.add(data.host);
  }
  return records.filter(({ name: owner }) => names.has(owner));
}

// What a director would do with a packet now, and why (`clb explain`): the tracing build of the same core walks the live tables with records
// and chunks of its own, sends nothing and changes no flow. This file only asks and puts the trace into words; a line a step, in walk order.
import { Core, type LinearMemory, type MemoryPlan } from '@openclb/core-wasm';
import {
  PacketFlag,
  TraceRecord,
  WorkerState,
  directionEnum,
  encapsulationEnum,
  flowStateEnum,
  limits,
  reasonEnum,
  schedulerEnum,
  stepEnum,
  translationEnum,
  verdictEnum,
} from '@openclb/core-wasm/layout';
import {
  type ExplainAnswer,
  type ExplainQuery,
  type ExplainStep,
  type Generation,
  address,
  formatAddress,
  fromBytes16,
  toBytes16,
} from '@openclb/model';
import { clock } from './clock.ts';
import { TcpFlag, echoProbe, tcpProbe, udpProbe } from './probe-packet.ts';

/** What the slots of a trace stand for. */
export interface SlotNames {
  listener(slot: number): string;
  target(slot: number): string;
  host(slot: number): string;
  eip(row: number): string;
}

export interface Explainer {
  explain(query: ExplainQuery, generation: Generation | undefined): ExplainAnswer;
}

export interface ExplainerOptions {
  readonly node: string;
  readonly plan: MemoryPlan;
  readonly memory: LinearMemory;
  readonly names: SlotNames;
}

export async function createExplainer({ node, plan, memory, names }: ExplainerOptions): Promise<Explainer> {
  const core = await Core.open({ memory, plan, worker: 'explainer', artefact: 'trace' });
  const worker = plan.workers[0]!;
  return {
    explain(query, generation) {
      if (generation === undefined) throw new Error(`${node} has no image yet: nothing to explain`);
      // Weighted round robin is a state of the worker: look at it as it is now, and leave it alone.
      core.bytes.copyWithin(core.worker.wrr, worker.wrr, worker.wrr + plan.map.membersMax * 4);
      // The flow hash is keyed, and the flows to look up are the worker's.
      const keys = WorkerState.at.sipKey0;
      core.bytes.copyWithin(core.worker.state + keys, worker.state + keys, worker.state + keys + SIP_KEY_BYTES);
      core.adopt();
      const count = core.inject([packetOf(query)], 0, PacketFlag.Layer3);
      core.forwardBurst(count, clock());
      const verdict = nameOf(verdictEnum, core.verdict(0)).toLowerCase();
      const reason = nameOf(reasonEnum, core.reason(0));
      return { node, generation, verdict, reason, steps: readTrace(core, { names, flowsMax: worker.flowsMax }) };
    },
  };
}

function packetOf(query: ExplainQuery): Uint8Array {
  const ends = { source: toBytes16(address(query.source)), destination: toBytes16(address(query.destination)) };
  const { sourcePort, destinationPort } = query;
  if (query.source.includes(':') !== query.destination.includes(':'))
    throw new Error('source and destination are of different families');
  if (query.protocol === 'udp') return udpProbe(ends, sourcePort, destinationPort);
  if (query.protocol === 'icmp') return echoProbe(ends, sourcePort, 1);
  const flags = query.flags === 'ack' ? TcpFlag.Ack : TcpFlag.Syn;
  return tcpProbe(ends, { sourcePort, destinationPort, flags, sequence: 1 });
}

interface Trace {
  readonly step: string;
  readonly verdict: number;
  readonly reason: number;
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
  readonly net: number;
  readonly source: string;
  readonly destination: string;
  readonly outerSource: string;
  readonly outerDestination: string;
}

function readTrace(core: Core, scope: Scope): ExplainStep[] {
  const count = Math.min(core.view.getUint32(core.worker.state + WorkerState.at.trace, true), limits.TRACE_MAX);
  return Array.from({ length: count }, (_, index) => {
    const at = core.worker.trace + index * TraceRecord.bytes;
    const byte = (field: 'step' | 'verdict' | 'reason'): number => core.bytes[at + TraceRecord.at[field]] as number;
    const word = (field: 'a' | 'b' | 'c' | 'd' | 'net'): number =>
      core.view.getUint32(at + TraceRecord.at[field], true);
    const text = (field: 'source' | 'destination' | 'outerSource' | 'outerDestination'): string =>
      formatAddress(fromBytes16(core.bytes, at + TraceRecord.at[field]));
    const trace: Trace = {
      step: nameOf(stepEnum, byte('step')),
      verdict: byte('verdict'),
      reason: byte('reason'),
      a: word('a'),
      b: word('b'),
      c: word('c'),
      d: word('d'),
      net: word('net'),
      source: text('source'),
      destination: text('destination'),
      outerSource: text('outerSource'),
      outerDestination: text('outerDestination'),
    };
    return { step: trace.step.toLowerCase(), ...tell(trace, scope) };
  });
}

interface Scope {
  readonly names: SlotNames;
  readonly flowsMax: number;
}

const SIP_KEY_BYTES = 16;

type Told = Omit<ExplainStep, 'step'>;

/** One step in words, and the same as data. */
function tell(trace: Trace, scope: Scope): Told {
  const teller = TELL[trace.step];
  return teller === undefined ? { text: '', data: { ...trace } } : teller(trace, scope);
}

const TELL: Readonly<Record<string, (trace: Trace, scope: Scope) => Told>> = {
  Parse({ a, b, c, d, source, destination }) {
    const protocol = PROTOCOLS[a] ?? `protocol ${a}`;
    const flags = a === 6 ? `, ${flagNames(d)}` : '';
    return {
      text: `${protocol} ${withPort(source, b)} to ${withPort(destination, c)}${flags}`,
      data: {
        protocol,
        source,
        sourcePort: b,
        destination,
        destinationPort: c,
        ...(a === 6 ? { flags: flagNames(d) } : {}),
      },
    };
  },
  Dispatch({ a, b }) {
    const walk = nameOf(directionEnum, a).toLowerCase();
    return { text: `${walk} walk${b === 0 ? '' : ` in VPC ${b}`}`, data: { walk, net: b } };
  },
  Classify({ a }, { names }) {
    return { text: `listener ${names.listener(a)} (slot ${a})`, data: { listener: names.listener(a), slot: a } };
  },
  Admit: () => ({ text: 'let in', data: {} }),
  Track({ a, b }, { flowsMax }) {
    if (a === limits.NONE) return { text: 'flow table: miss, this is a new flow', data: { flow: 'miss' } };
    const state = nameOf(flowStateEnum, b);
    // Past the end of the table lies the entry that the explaining core would make.
    if (a >= flowsMax) return { text: `a new flow would begin as ${state}`, data: { flow: 'new', state } };
    return { text: `flow table: hit, entry ${a}, ${state}`, data: { flow: 'hit', entry: a, state } };
  },
  Schedule({ a, b, d }, { names }) {
    const scheduler = nameOf(schedulerEnum, d).toLowerCase();
    const how = b === limits.NONE ? scheduler : `${scheduler} slot ${b}`;
    const data = { target: names.target(a), scheduler, ...(b === limits.NONE ? {} : { maglevSlot: b }) };
    return { text: `target ${names.target(a)} by ${how}`, data };
  },
  Translate({ a, b, c, source, destination }) {
    const translation = nameOf(translationEnum, a).toLowerCase();
    const data = { translation, source, sourcePort: b, destination, destinationPort: c };
    if (translation === 'none') return { text: 'addresses stay as they are', data };
    return { text: `${translation}: now ${withPort(source, b)} to ${withPort(destination, c)}`, data };
  },
  Encapsulate({ a, b, c, d, outerSource, outerDestination }, { names }) {
    const encapsulation = nameOf(encapsulationEnum, a).toLowerCase();
    if (encapsulation === 'none' || encapsulation === 'l2')
      return { text: `no tunnel (${encapsulation})`, data: { encapsulation } };
    const key = encapsulation === 'gre' ? ` key ${b}` : '';
    const host = c === limits.NONE ? '' : ` (${names.host(c)})`;
    return {
      text: `${encapsulation}${key} from ${outerSource} to ${outerDestination}${host}, ${d} bytes more`,
      data: {
        encapsulation,
        key: b,
        outerSource,
        outerDestination,
        host: c === limits.NONE ? null : names.host(c),
        bytes: d,
      },
    };
  },
  Decapsulate({ a, b, outerSource, outerDestination }) {
    return {
      text: `out of a tunnel with key ${a} from ${outerSource} to ${outerDestination}`,
      data: { key: a, bytes: b, outerSource, outerDestination },
    };
  },
  Emit({ a, b }) {
    const isKnown = b !== limits.NONE;
    return { text: `port ${a}, next hop ${isKnown ? 'known' : 'not resolved'}`, data: { port: a, nextHop: isKnown } };
  },
  Icmp: ({ a, b }) => ({ text: `ICMP type ${a} code ${b}`, data: { type: a, code: b } }),
  Eip({ a, b, c }, { names }) {
    return {
      text: `EIP ${names.eip(a)} ${c === 1 ? 'outwards' : 'inwards'}, VPC ${b}`,
      data: { eip: names.eip(a), net: b },
    };
  },
  Verdict({ a, b }) {
    const verdict = nameOf(verdictEnum, a).toLowerCase();
    const reason = nameOf(reasonEnum, b);
    if (b === 0) return { text: verdict, data: { verdict } };
    return { text: `${verdict}: ${reason}. ${meaningOf(b)}`, data: { verdict, reason } };
  },
};

const PROTOCOLS: Readonly<Record<number, string>> = {
  1: 'icmp',
  6: 'tcp',
  17: 'udp',
  47: 'gre',
  4: 'ipip',
  58: 'icmpv6',
  132: 'sctp',
};
const FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG'] as const;

function flagNames(flags: number): string {
  return FLAGS.filter((_, bit) => flags & (1 << bit)).join('+') || 'no flags';
}

function withPort(text: string, port: number): string {
  return text.includes(':') ? `[${text}]:${port}` : `${text}:${port}`;
}

interface Enumeration {
  readonly members: Readonly<Record<string, readonly [value: number, meaning: string]>>;
}

function nameOf({ members }: Enumeration, value: number): string {
  return Object.entries(members).find(([, [number]]) => number === value)?.[0] ?? String(value);
}

function meaningOf(reason: number): string {
  return Object.values(reasonEnum.members as Enumeration['members']).find(([value]) => value === reason)?.[1] ?? '';
}

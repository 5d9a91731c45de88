// Explain: walks one packet through the live tables on the trace artefact and tells what every step saw. Nothing is changed by it:
// the instance is read-only, and prepares a new flow in an entry that no index names.
import {
  Direction,
  Encapsulation,
  FlowFlag,
  Health,
  PacketFlag,
  Scheduler,
  Step,
  TraceRecord,
  Translation,
  WorkerState,
  directionEnum,
  encapsulationEnum,
  flowStateEnum,
  healthEnum,
  limits,
  nameOf,
  reasonEnum,
  schedulerEnum,
  stepEnum,
  translationEnum,
  verdictEnum,
} from '../layout/index.ts';
import { formatAddress } from './address.ts';
import type { Core } from './core.ts';

/** One step of the walk of a packet: its name, what it saw, and the packet after it. */
export interface ExplainedStep {
  readonly step: string;
  readonly text: string;
  readonly data: Record<string, unknown>;
}

/** The walk of one packet: steps in order, verdict, reason and the frame that would leave. */
export interface Explanation {
  readonly verdict: string;
  readonly reason: string;
  readonly steps: readonly ExplainedStep[];
  /** What would leave, or what was left when the walk ended. */
  readonly frame: Uint8Array;
}

/** Names for people; slots alone otherwise. */
export interface ExplainNames {
  readonly listener?: (slot: number) => string | undefined;
  readonly target?: (slot: number) => string | undefined;
  readonly host?: (slot: number) => string | undefined;
  readonly eip?: (row: number) => string | undefined;
}

interface Seen {
  /** The flow slot in `a` is the entry behind the table, where this instance prepares what it never makes. */
  readonly isPrepared: boolean;
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

/** `core` is opened with worker 'explainer' and artefact 'trace' (or 'check'); `packet` is a complete IP packet. */
export function explain(core: Core, packet: Uint8Array, nowMs: number, names: ExplainNames = {}): Explanation {
  core.adopt();
  core.inject([packet], 0, PacketFlag.Layer3);
  core.forwardBurst(1, nowMs);
  const steps: ExplainedStep[] = [];
  const count = core.view.getUint32(core.worker.state + WorkerState.at.trace, true);
  for (let number = 0; number < count; number++) {
    const record = core.worker.trace + number * TraceRecord.bytes;
    const step = core.bytes[record + TraceRecord.at.step] ?? 0;
    const seen = read(core, record);
    steps.push({ step: nameOf(stepEnum, step).toLowerCase(), ...tell(step, seen, names) });
  }
  const verdict = nameOf(verdictEnum, core.verdict(0));
  const reason = nameOf(reasonEnum, core.reason(0));
  return { verdict, reason, steps, frame: core.frame(0).slice() };
}

function read(core: Core, record: number): Seen {
  const word = (field: 'a' | 'b' | 'c' | 'd' | 'net'): number =>
    core.view.getUint32(record + TraceRecord.at[field], true);
  const address = (field: 'source' | 'destination' | 'outerSource' | 'outerDestination'): string =>
    formatAddress(core.bytes.subarray(record + TraceRecord.at[field], record + TraceRecord.at[field] + 16));
  return {
    isPrepared: word('a') === core.worker.flowsMax,
    a: word('a'),
    b: word('b'),
    c: word('c'),
    d: word('d'),
    net: word('net'),
    source: address('source'),
    destination: address('destination'),
    outerSource: address('outerSource'),
    outerDestination: address('outerDestination'),
  };
}

type Told = Omit<ExplainedStep, 'step'>;
type Teller = (seen: Seen, names: ExplainNames) => Told;

function tell(step: number, seen: Seen, names: ExplainNames): Told {
  return TELLERS[step]?.(seen, names) ?? { text: `step ${step}`, data: {} };
}

const named = (kind: string, slot: number, name: string | undefined): string =>
  name === undefined ? `${kind} in slot ${slot}` : `${kind} ${name}`;
const ends = (seen: Seen): string => `${seen.source} → ${seen.destination}`;

const TELLERS: Readonly<Record<number, Teller>> = {
  [Step.Parse]: (seen) => ({
    text: `${ends(seen)}, protocol ${seen.a}, ports ${seen.b} → ${seen.c}`,
    data: {
      source: seen.source,
      destination: seen.destination,
      protocol: seen.a,
      sourcePort: seen.b,
      destinationPort: seen.c,
      tcpFlags: seen.d,
    },
  }),
  [Step.Dispatch]: (seen) => ({
    text: `takes the walk ${nameOf(directionEnum, seen.a).toLowerCase()}${seen.b === 0 ? '' : ` in VPC ${seen.b}`}${seen.a === Direction.Tunnel ? ': a tunnel of ours' : ''}`,
    data: { direction: nameOf(directionEnum, seen.a), net: seen.b },
  }),
  [Step.Classify]: (seen, names) => ({
    text: `${named('listener', seen.a, names.listener?.(seen.a))}, scheduler ${nameOf(schedulerEnum, seen.b)}, translation ${nameOf(translationEnum, seen.c)}`,
    data: {
      listenerSlot: seen.a,
      listener: names.listener?.(seen.a),
      scheduler: nameOf(schedulerEnum, seen.b),
      translation: nameOf(translationEnum, seen.c),
    },
  }),
  [Step.Admit]: () => ({ text: 'admitted', data: {} }),
  [Step.Track]: (seen) => ({
    text:
      seen.a === limits.NONE
        ? 'flow table: miss'
        : (seen.c & FlowFlag.Promoted) !== 0 && seen.isPrepared
          ? `flow table: miss; the standby table has it, ${nameOf(flowStateEnum, seen.b)}, and it would be taken over`
          : seen.isPrepared
            ? `a new flow would begin as ${nameOf(flowStateEnum, seen.b)}`
            : `flow table: hit, flow ${seen.a}, ${nameOf(flowStateEnum, seen.b)}`,
    data: {
      flow: seen.a === limits.NONE || seen.isPrepared ? null : seen.a,
      state: nameOf(flowStateEnum, seen.b),
      hash: seen.d,
    },
  }),
  [Step.Schedule]: (seen, names) => ({
    text:
      `${named('target', seen.a, names.target?.(seen.a))}, ${nameOf(healthEnum, seen.c)}, ` +
      (seen.d === Scheduler.Wrr
        ? 'by weighted round robin'
        : seen.b === limits.NONE
          ? 'the first usable one'
          : `by Maglev slot ${seen.b}`) +
      (seen.c === Health.Alive ? '' : ': no target of the group is known alive, so all are used'),
    data: {
      targetSlot: seen.a,
      target: names.target?.(seen.a),
      maglevSlot: seen.b === limits.NONE ? null : seen.b,
      health: nameOf(healthEnum, seen.c),
    },
  }),
  [Step.Translate]: (seen) => ({
    text:
      seen.a === Translation.None
        ? 'nothing is translated'
        : `${nameOf(translationEnum, seen.a)}: ${ends(seen)}, ports ${seen.b} → ${seen.c}`,
    data: {
      translation: nameOf(translationEnum, seen.a),
      source: seen.source,
      destination: seen.destination,
      sourcePort: seen.b,
      destinationPort: seen.c,
    },
  }),
  [Step.Encapsulate]: (seen, names) => ({
    text:
      seen.d === 0
        ? 'leaves without a tunnel'
        : `${nameOf(encapsulationEnum, seen.a)}${seen.a === Encapsulation.Gre ? ` with key ${seen.b}` : ''} ${seen.outerSource} → ${seen.outerDestination}` +
          (seen.c === limits.NONE ? '' : `, ${named('host', seen.c, names.host?.(seen.c))}`),
    data: {
      encapsulation: nameOf(encapsulationEnum, seen.a),
      key: seen.b,
      outerSource: seen.outerSource,
      outerDestination: seen.outerDestination,
      bytes: seen.d,
    },
  }),
  [Step.Decapsulate]: (seen) => ({
    text: `out of a tunnel ${seen.outerSource} → ${seen.outerDestination}, key ${seen.a}: ${ends(seen)}`,
    data: { key: seen.a, bytes: seen.b, source: seen.source, destination: seen.destination },
  }),
  [Step.Emit]: (seen) => ({
    text: `port ${seen.a}${seen.b === limits.NONE ? '; the next hop is not resolved yet' : ''}`,
    data: { port: seen.a, neighbour: seen.b === limits.NONE ? null : seen.b },
  }),
  [Step.Icmp]: (seen) => ({ text: `ICMP type ${seen.a}`, data: { type: seen.a, code: seen.b } }),
  [Step.Eip]: (seen, names) => ({
    text: `${named('EIP', seen.a, names.eip?.(seen.a))}, VPC ${seen.b}, ${seen.c === 0 ? 'towards its instance' : 'from its instance'}`,
    data: { row: seen.a, net: seen.b },
  }),
  [Step.Guard]: (seen) => ({
    text: seen.a === 1 ? 'let in by the access list' : 'kept out by the access list',
    data: { isLetIn: seen.a === 1 },
  }),
  [Step.Verdict]: (seen) => ({
    text: `${nameOf(verdictEnum, seen.a)}${seen.b === 0 ? '' : `, ${nameOf(reasonEnum, seen.b)}: ${meaningOf(seen.b)}`}`,
    data: { verdict: nameOf(verdictEnum, seen.a), reason: nameOf(reasonEnum, seen.b) },
  }),
};

function meaningOf(reason: number): string {
  for (const [value, meaning] of Object.values(reasonEnum.members)) if (value === reason) return meaning;
  return '';
}

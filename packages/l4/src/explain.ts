// What a director would do with a packet now, and why (`clb explain`): the tracing build of the same core walks the live tables with records
// and chunks of its own, sends nothing and changes no flow. This file makes the packet that the question names and asks.
import { Core, type ExplainNames, type LinearMemory, type MemoryPlan, buildProbe, explain } from '@openclb/core-wasm';
import { type ExplainAnswer, type ExplainQuery, type Generation, address, toBytes16 } from '@openclb/model';
import { clock } from './clock.ts';
import { TcpFlag } from './probe-answer.ts';

export interface Explainer {
  explain(query: ExplainQuery, generation: Generation | undefined): ExplainAnswer;
}

export interface ExplainerOptions {
  readonly node: string;
  readonly plan: MemoryPlan;
  readonly memory: LinearMemory;
  /** What the slots of a trace stand for. */
  readonly names: ExplainNames;
}

export async function createExplainer({ node, plan, memory, names }: ExplainerOptions): Promise<Explainer> {
  const core = await Core.open({ memory, plan, worker: 'explainer', artefact: 'trace' });
  const worker = plan.workers[0]!;
  return {
    explain(query, generation) {
      if (generation === undefined) throw new Error(`${node} has no image yet: nothing to explain`);
      // Weighted round robin is a state of the worker: look at it as it is now, and leave it alone.
      core.adopt();
      core.bytes.copyWithin(core.worker.wrr, worker.wrr, worker.wrr + plan.map.membersMax * 4);
      const { verdict, reason, steps } = explain(core, packetOf(query), clock(), names);
      return { node, generation, verdict: verdict.toLowerCase(), reason, steps: [...steps] };
    },
  };
}

/** Addresses of two families in one question are refused by the builder. */
function packetOf({ protocol, source, sourcePort, destination, destinationPort, flags }: ExplainQuery): Uint8Array {
  const isEcho = protocol === 'icmp';
  return buildProbe({
    protocol,
    source: toBytes16(address(source)),
    destination: toBytes16(address(destination)),
    sourcePort,
    destinationPort: isEcho ? 1 : destinationPort,
    sequence: 1,
    tcpFlags: flags === 'ack' ? TcpFlag.Ack : TcpFlag.Syn,
  });
}

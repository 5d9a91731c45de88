// How long a change takes from the desired state to the line that goes to a node, by the number of load balancers.
import { canonicalJson } from '@openclb/model';
import { compileMemo } from '../src/compile/index.ts';
import { emptyState, type MutableState, putIntoState } from '../src/desired/state.ts';
import { compile, resolvePools } from '../src/index.ts';

const OPTIONS = { pools: resolvePools(), readyPort: 8998 };
const ROUNDS = 20;

export async function run() {
  return [100, 1_000, 10_000].flatMap((count) => {
    const state = build(count);
    const memo = compileMemo();
    compile(state, new Map(), OPTIONS, memo);
    const full = median(() => compile(state, new Map(), OPTIONS));
    const change = median((round) => {
      const [key, group] = [...state.targetGroup][round] ?? [];
      putIntoState(state, String(key), structuredClone(group));
      state.revision++;
      compile(state, new Map(), OPTIONS, memo);
    });
    const image = compile(state, new Map(), OPTIONS, memo).images.get('ld1');
    const line = median(() => canonicalJson(image));
    const what = `${count} load balancers`;
    return [
      { what: `${what}: compile everything`, value: full, unit: 'ms' },
      {
        what: `${what}: compile one change`,
        value: change,
        unit: 'ms',
        ratio: change / full,
        peer: 'compile everything',
      },
      {
        what: `${what}: canonical text of a director's image`,
        value: line,
        unit: 'ms',
        ratio: line / full,
        peer: 'compile everything',
      },
    ];
  });
}

function build(count: number): MutableState {
  const state = emptyState();
  const healthCheck = {
    enabled: true,
    type: 'tcp',
    intervalSeconds: 5,
    timeoutSeconds: 2,
    healthyThreshold: 3,
    unhealthyThreshold: 3,
    httpMethod: 'HEAD',
    httpPath: '/',
    httpCodes: 31,
  };
  const node = { workers: 1, physical: [], probe: {}, sources: [] };
  putIntoState(state, 'd/vpc/100', { id: 100, name: 'vpc', cidrs: [], sourceIndex: 1 });
  putIntoState(state, 'd/node/ld1', {
    ...node,
    id: 'ld1',
    role: 'director',
    underlay: { v4: '10.255.0.1' },
    ordinal: 1,
    tunnels: [{ node: 'ld1', worker: 0, v4: '10.254.1.1' }],
  });
  putIntoState(state, 'd/node/host1', {
    ...node,
    id: 'host1',
    role: 'endpoint',
    underlay: { v4: '10.255.0.11' },
    ordinal: 1,
    tunnels: [],
  });
  for (let index = 0; index < count; index++) {
    const [high, low] = [index >> 8, index & 255];
    const name = `n${index}`;
    const addresses = [`10.${high}.${low}.1`, `10.${high}.${low}.2`];
    putIntoState(state, `d/instance/ins-${name}`, { id: `ins-${name}`, name, vpcId: 100, addresses, host: 'host1' });
    const targets = addresses.map((address, at) => ({
      id: `tgt-${name}-${at}`,
      vpc: 100,
      address,
      port: 80,
      weight: 10,
    }));
    putIntoState(state, `d/group/lbtg-${name}`, { id: `lbtg-${name}`, name, slots: 251, healthCheck, targets });
    putIntoState(state, `d/lb/lb-${name}`, {
      id: `lb-${name}`,
      name,
      network: 'public',
      vips: [`203.0.${high}.${low}`],
    });
    const listener = {
      id: `lbl-${name}`,
      loadBalancer: `lb-${name}`,
      name,
      protocol: 'TCP',
      port: 80,
      scheduler: 'maglev',
      translation: 'auto',
      targetGroup: `lbtg-${name}`,
    };
    putIntoState(state, `d/listener/lb-${name}/lbl-${name}`, {
      ...listener,
      idleSeconds: 900,
      onRemove: 'run',
      certificates: [],
      rules: [],
    });
  }
  return state;
}

function median(work: (round: number) => unknown): number {
  const times = Array.from({ length: ROUNDS }, (_, round) => {
    const startedAt = performance.now();
    work(round);
    return performance.now() - startedAt;
  });
  return times.sort((a, b) => a - b)[ROUNDS / 2] ?? 0;
}

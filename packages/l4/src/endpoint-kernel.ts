// What an endpoint asks of the kernel of a proxy or a physical server (data-plane.md P20, P21, P23): VIPs as local routes, an inside
// device that carries what belongs into tunnels, and rules that send it there. Everything can be repeated and is undone on close.
import { promises } from 'node:fs';
import { type EndpointImage } from '@openclb/model';
import { type DirectReturn, directReturnCommands } from './endpoint-direct-return.ts';
import { ROUTE_PROTOCOL, ipBatch } from './ip-batch.ts';
import { type Log, messageOf } from './log.ts';

/** Table whose default route is the inside device. */
export const INSIDE_TABLE = 7261;
/** Addresses of proxies: the source of a connection names the VPC (P18, P21). */
const SERVICE_RANGES = ['100.112.0.0/12', 'fd7c:6c62::/32'] as const;
/** An address on the inside device, or rp_filter 2 drops everything (P20, tried). Never seen outside. */
const INSIDE_ADDRESS = '169.254.72.61/32';
const PREF = { ours: 10, local: 20, server: 12_000 } as const;
const PORTS_PATH = '/proc/sys/net/ipv4/ip_local_port_range';
/** libuv binds before it connects, so one address gives one range of ports in all: make it wide (P21). */
const PORTS_WIDE = '1024 65535';
const IP_PROTOCOL_NAMES: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };

/** Commands for `ip -batch`, each with the one that undoes it; the key says what is the same in two images. */
export interface KernelStep {
  readonly add: string;
  readonly undo: string;
}

export interface KernelPlan {
  readonly steps: ReadonlyMap<string, KernelStep>;
  /** The local table must be asked after our rule: a VM may have an address that this node has as well. */
  readonly isLocalLate: boolean;
}

export function kernelPlan(
  image: EndpointImage,
  inside: string | null,
  direct: DirectReturn | null = null,
): KernelPlan {
  const steps = new Map<string, KernelStep>();
  const add = (verb: string, undoVerb: string, words: string, isV6: boolean): void => {
    const family = isV6 ? '-6 ' : '';
    steps.set(`${family}${words}`, { add: `${family}${verb} ${words}`, undo: `${family}${undoVerb} ${words}` });
  };
  const width = (text: string): string => `${text}/${text.includes(':') ? 128 : 32}`;
  for (const vip of image.localVips) {
    add(
      'route replace',
      'route del',
      `local ${width(vip)} dev lo proto ${ROUTE_PROTOCOL} table local`,
      vip.includes(':'),
    );
  }
  for (const { v4, v6 } of image.sources) {
    if (v4 !== undefined) add('addr replace', 'addr del', `${v4}/32 dev lo`, false);
    if (v6 !== undefined) add('addr replace', 'addr del', `${v6}/128 dev lo nodad`, true);
  }
  for (const { kind, words, isV6 } of direct === null ? [] : directReturnCommands(image.localVips, direct)) {
    add(kind === 'rule' ? 'rule add' : 'route replace', `${kind} del`, words, isV6);
  }
  if (inside === null) return { steps, isLocalLate: false };
  for (const isV6 of [false, true]) {
    add('route replace', 'route del', `default dev ${inside} proto ${ROUTE_PROTOCOL} table ${INSIDE_TABLE}`, isV6);
  }
  add('addr replace', 'addr del', `${INSIDE_ADDRESS} dev ${inside}`, false);
  if (image.sources.length > 0) {
    for (const range of SERVICE_RANGES) {
      add('rule add', 'rule del', `pref ${PREF.ours} from ${range} lookup ${INSIDE_TABLE}`, range.includes(':'));
    }
  }
  for (const words of serverRules(image)) add('rule add', 'rule del', words, words.includes(':'));
  return { steps, isLocalLate: image.sources.length > 0 };
}

/** Replies of a registered port of this server go through the inside device, where the return memory decides (P23). */
function serverRules(image: EndpointImage): string[] {
  const physical = new Set(image.physical);
  return image.registered
    .filter(({ net, address }) => net === 0 && physical.has(address))
    .filter(({ protocol }) => IP_PROTOCOL_NAMES[protocol] !== undefined)
    .map(
      ({ address, port, protocol }) =>
        `pref ${PREF.server} from ${address} ipproto ${IP_PROTOCOL_NAMES[protocol]} sport ${port} lookup ${INSIDE_TABLE}`,
    );
}

export interface EndpointKernel {
  /** Makes the kernel as the image needs it; what an earlier image needed and this one does not is taken away. */
  apply(image: EndpointImage, inside: string | null, direct?: DirectReturn | null): Promise<void>;
  close(): Promise<void>;
}

export interface EndpointKernelOptions {
  readonly log: Log;
  readonly run?: (commands: readonly string[]) => Promise<void>;
}

const LOCAL_LATE = [
  'rule add pref 20 lookup local',
  'rule del pref 0',
  '-6 rule add pref 20 lookup local',
  '-6 rule del pref 0',
];
const LOCAL_EARLY = [
  'rule add pref 0 lookup local',
  'rule del pref 20',
  '-6 rule add pref 0 lookup local',
  '-6 rule del pref 20',
];

export function createEndpointKernel({ log, run = ipBatch }: EndpointKernelOptions): EndpointKernel {
  let done: ReadonlyMap<string, KernelStep> = new Map();
  let isLocalLate = false;
  let portsBefore: string | null = null;

  /** For what may be there already or no longer: leftovers of a killed process, rules that `ip` would add twice. */
  async function quietly(commands: readonly string[]): Promise<void> {
    await run(commands).catch((error: unknown) => log.debug({ reason: messageOf(error) }, 'nothing to undo'));
  }

  async function apply(image: EndpointImage, inside: string | null, direct: DirectReturn | null = null): Promise<void> {
    const plan = kernelPlan(image, inside, direct);
    const gone = [...done].filter(([key]) => !plan.steps.has(key)).map(([, step]) => step.undo);
    const fresh = [...plan.steps].filter(([key]) => !done.has(key)).map(([, step]) => step);
    await quietly([...gone, ...fresh.filter(({ add }) => add.includes('rule add')).map(({ undo }) => undo)]);
    done = plan.steps;
    await run(fresh.map(({ add }) => add));
    if (inside !== null) await loosenReversePath(inside);
    if (plan.isLocalLate && !isLocalLate) await moveLocal();
    isLocalLate ||= plan.isLocalLate;
  }

  /** Never a moment without the local table: the late rule stands before the early one goes. */
  async function moveLocal(): Promise<void> {
    await quietly(['rule del pref 20', '-6 rule del pref 20']);
    await quietly(LOCAL_LATE);
    portsBefore = (await promises.readFile(PORTS_PATH, 'utf8')).trim();
    await promises.writeFile(PORTS_PATH, PORTS_WIDE).catch((error: unknown) => {
      log.warn(
        { reason: messageOf(error) },
        `cannot widen the port range: one VPC has about 28,000 connections at once`,
      );
    });
  }

  return {
    apply,
    async close() {
      if (isLocalLate) await quietly(LOCAL_EARLY);
      if (portsBefore !== null) await promises.writeFile(PORTS_PATH, portsBefore).catch(() => undefined);
      await quietly([...done.values()].map(({ undo }) => undo));
      done = new Map();
    },
  };
}

/** Loose: the way back to a client does not lead through the inside device. A stricter `all` would win otherwise. */
async function loosenReversePath(device: string): Promise<void> {
  await promises.writeFile(`/proc/sys/net/ipv4/conf/${device}/rp_filter`, '2');
}

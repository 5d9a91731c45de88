// A director as a whole: one shared memory, one packet worker, one uplink; images from the link, the disk or a call; health, routes,
// steering, watchdog, explain and counters. Composition only: each part is a file of its own. The only owner of a logger here besides the cli.
import { channel } from 'node:diagnostics_channel';
import { networkInterfaces } from 'node:os';
import { type PlanOptions, SyncTable, bindingCounters } from '@openclb/core-wasm';
import { WorkerState } from '@openclb/core-wasm/layout';
import {
  type DirectorImage,
  type ExplainAnswer,
  type ExplainQuery,
  type LookAnswer,
  type LookQuery,
} from '@openclb/model';
import { pino } from 'pino';
import { type Announcer } from './announcer.ts';
import { startBirdAnnouncer } from './bird/announcer.ts';
import { type BirdOptions } from './bird/config.ts';
import { type Capture, type CaptureOptions, createCapture } from './capture/capture.ts';
import { readCounters } from './counters.ts';
import { type DataPath, startDataPath } from './data-path.ts';
import { type DirectorTables, createDirectorTables } from './director-tables.ts';
import { type Looker, createLooker } from './look/look.ts';
import { type Explainer, createExplainer } from './explain.ts';
import { type Health, startHealth } from './health.ts';
import { HeartbeatStatus } from './heartbeat.ts';
import { type Applied, type ImageKeeper, createImageKeeper, formatGeneration } from './image-keeper.ts';
import { type LimitShare, type Watermark } from './isolation.ts';
import { type IsolationLoop, startIsolation } from './isolation-loop.ts';
import { type KernelGuard, createKernelGuard } from './kernel-guard.ts';
import { type Link, connectLink } from './link.ts';
import { type Log } from './log.ts';
import { type NextHops, type StaticNextHops, startNextHops } from './next-hop.ts';
import { ourAddresses, ourSources } from './ours.ts';
import { type PortKindName } from './port/port.ts';
import { type TargetProbe } from './probe.ts';
import { type Cookies, startCookies } from './cookies.ts';
import { type FlowSync, type SyncMode, startSync } from './sync.ts';
import { watchPulse } from './watchdog.ts';
import { type PortInfo, type SlottedProbe } from './worker-messages.ts';

export interface DirectorOptions {
  /** Node id, as the controller knows it. */
  readonly id: string;
  /** Where images come from; without it, from `image`, `apply` and the disk. */
  readonly controller?: { readonly url: string; readonly token: string };
  readonly image?: DirectorImage;
  /** Keeps the last image and the last health verdicts. */
  readonly stateDir?: string;
  /** The uplink; a label on a memory port. */
  readonly device: string;
  /** `auto` takes the first that works of xdp, packet and tun. */
  readonly port: 'auto' | PortKindName;
  readonly workers?: 1;
  /** How flows are told to the other directors: to each (default), once for all by multicast, or not at all. */
  readonly sync?: SyncMode;
  /** Most flows at one time; 1,048,576 by default. */
  readonly flows?: number;
  /** Load above which services are limited; 0.85 of a CPU by default. */
  readonly watermark?: Watermark;
  /** Other sizes of the memory plan. */
  readonly plan?: PlanOptions;
  readonly log?: Log;
  /** Memory port: frames that left. */
  onFrame?(frame: Uint8Array): void;
  /** Next hops without a kernel to ask: memory ports and tests. */
  readonly nextHops?: StaticNextHops;
  /** Announces by BIRD, whose files lie in `stateDir`; without it the static announcer asks the workers itself (P35). */
  readonly bird?: BirdOptions;
  /** The worker has died too often: the director is of no use any more. */
  onGiveUp?(error: Error): void;
}

export interface Director {
  readonly id: string;
  /** What carries the packets: xdp, packet, tun, memory. */
  readonly port: PortKindName;
  readonly portInfo: PortInfo;
  readonly applied: Applied | null;
  readonly isAlive: boolean;
  apply(image: DirectorImage): Promise<void>;
  explain(query: ExplainQuery): Promise<ExplainAnswer>;
  /** A page of a live table: what `clb ld` shows. */
  look(query: LookQuery): Promise<LookAnswer>;
  counters(): Record<string, number>;
  health(): ReturnType<Health['reports']>;
  /** Memory port: frames that arrive. */
  deliver(frames: readonly Uint8Array[]): void;
  /** Takes no new flows from here on: VIPs are withdrawn, tunnel addresses stay (P2). `false` takes it back; nothing of it is kept on disk. */
  drain(isDraining?: boolean): Promise<void>;
  readonly isDraining: boolean;
  /** Makes the packet worker die as a bug in it would: for drills. */
  trapWorker(): void;
  close(): Promise<void>;
}

const UPLINK = 0;
const GENERATION_APPLIED = channel('openclb:l4:generation-applied');
const WORKER_RESTARTED = channel('openclb:l4:worker-restarted');
const HEALTH_CHANGED = channel('openclb:l4:health-changed');
const REPORT_EVERY_MS = 5_000;
/** Two heartbeats of the announcer, its routes, and a moment for what is on the wire. */
const LEAVE_MS = 400;

/** Everything that one running director is made of. */
interface Parts {
  readonly options: DirectorOptions;
  readonly log: Log;
  readonly tables: DirectorTables;
  readonly path: DataPath;
  readonly health: Health;
  readonly nextHops: NextHops;
  readonly guard: KernelGuard | null;
  readonly sync: FlowSync;
  readonly isolation: IsolationLoop;
  readonly cookies: Cookies;
  readonly announcer: Announcer | null;
  readonly capture: Capture;
  /** Told to take no new flows. */
  readonly mode: { isDraining: boolean };
}

export async function startDirector(options: DirectorOptions): Promise<Director> {
  const log: Log = options.log ?? pino({ name: `director ${options.id}` });
  const sizes = { ports: 1, ...(options.flows === undefined ? {} : { flows: options.flows }), ...options.plan };
  const tables = await createDirectorTables(sizes, options.sync !== 'off');
  let health: Health | null = null;
  let nextHops: NextHops | null = null;
  let guard: KernelGuard | null = null;
  let announcer: Announcer | null = null;
  let onHealth = (): void => {};
  const sync = startSync({
    mode: options.sync ?? 'unicast',
    table: await SyncTable.open(tables.plan, tables.memory, tables.slots),
    log,
  });
  const capture = captureOf(options, tables, (filter) => path.tap(filter));
  const path = startDataPath({
    role: 'director',
    plan: tables.plan,
    memory: tables.memory,
    log,
    onPort: (port) => nextHops?.setPort(port),
    onTapped: (packets, missed) => capture.take(packets, missed),
    onPunted: (packets) => health?.take(packets.map((one) => one.packet)),
    onSent: (_index, frames) => frames.forEach((frame) => options.onFrame?.(frame)),
    onDeath: () => {
      WORKER_RESTARTED.publish({ node: options.id });
      sync.recover();
    },
    onGiveUp: (error) => options.onGiveUp?.(error),
  });
  const isolation = startIsolation({ watermark: options.watermark, tables, path, log, share: () => equalShare(sync) });
  try {
    const { device, port: kind } = options;
    const port = await path.openPort({ index: UPLINK, kind, device, silence: true });
    log.info(
      { port: port.kind, detail: port.detail, device: port.device, refused: port.refused },
      `packets are carried by ${port.kind}`,
    );
    nextHops = startNextHops({ tables, port, log, ...fixedHops(options) });
    if (port.kind === 'xdp' || port.kind === 'packet') guard = await createKernelGuard({ log });
    health = await startHealth({
      node: options.id,
      stateDir: options.stateDir,
      log,
      emit: (probes) => path.probe(slotted(tables, probes)),
      overlay: tables.setHealth,
      onChange: () => onHealth(),
    });
    announcer = options.bird === undefined ? null : announceByBird(options, options.bird, tables, log);
    const cookies = startCookies({ plan: tables.plan, memory: tables.memory, log });
    const serving = { sync, isolation, cookies, announcer, capture, mode: { isDraining: false } };
    const parts = { options, log, tables, path, health, nextHops, guard, ...serving };
    const { director, reportHealth } = await serve(parts, port);
    onHealth = reportHealth;
    reportHealth();
    return director;
  } catch (error) {
    isolation.close();
    sync.close();
    nextHops?.close();
    await health?.close();
    await path.close();
    await guard?.close();
    await announcer?.close?.();
    throw error;
  }
}

/** Connects what is there with where images come from. */
async function serve(parts: Parts, port: PortInfo): Promise<{ director: Director; reportHealth: () => void }> {
  const { options, log, tables, path, health, nextHops, sync, announcer } = parts;
  const explainer = await createExplainer({ node: options.id, ...tables });
  const looker = lookerOf(parts, port);
  const keeper = createImageKeeper({
    node: options.id,
    role: 'director',
    stateDir: options.stateDir,
    log,
    onImage: (image) => adopt(parts, image as DirectorImage),
  });
  await keeper.load();
  if (options.image !== undefined) await keeper.apply(options.image);
  const link =
    options.controller === undefined
      ? null
      : await connect(parts, options.controller, keeper, { explainer, looker }, port);
  const watchdog = watchPulse(path.heartbeat, (isAlive) => {
    log.error({ isAlive }, isAlive ? 'the data path is back' : 'the data path has stopped: withdrawing');
    void (isAlive ? announce(parts) : announcer?.withdraw());
  });
  const reportHealth = (): void => {
    const reports = health.reports();
    link?.reportHealth(reports);
    HEALTH_CHANGED.publish({ node: options.id, reports });
  };
  // Again and again, because a controller that has restarted knows nothing of it (B10).
  const reporter = setInterval(() => link?.reportHealth(health.reports()), REPORT_EVERY_MS);
  const director: Director = {
    id: options.id,
    port: port.kind,
    portInfo: port,
    get applied() {
      return keeper.applied;
    },
    get isAlive() {
      return watchdog.isAlive;
    },
    apply: (image) => keeper.apply(image),
    explain: async (query) => explainer.explain(query, keeper.applied?.generation),
    look: looker.look,
    counters: () => countersOf(parts),
    health: health.reports,
    deliver: (frames) => path.deliver(UPLINK, frames),
    drain: (isDraining = true) => drain(parts, isDraining),
    get isDraining() {
      return parts.mode.isDraining;
    },
    trapWorker: () => path.trap(),
    async close() {
      clearInterval(reporter);
      watchdog.close();
      await link?.close();
      await keeper.idle();
      await leave(parts);
      parts.capture.close();
      parts.isolation.close();
      sync.close();
      parts.cookies.close();
      nextHops.close();
      await health.close();
      await path.close();
      await parts.guard?.close();
      await parts.announcer?.close?.();
    },
  };
  return { director, reportHealth };
}

function fixedHops({ nextHops }: DirectorOptions): { fixed?: StaticNextHops } {
  return nextHops === undefined ? {} : { fixed: nextHops };
}

function captureOf(
  { id, device }: DirectorOptions,
  { core, names }: DirectorTables,
  tap: CaptureOptions['tap'],
): Capture {
  return createCapture({ node: id, device, core, names, tap });
}

function lookerOf(parts: Parts, { device }: PortInfo): Looker {
  const { options, tables, capture } = parts;
  return createLooker({
    node: options.id,
    device,
    tables,
    counters: () => countersOf(parts),
    capture: capture.page,
  });
}

function slotted(tables: DirectorTables, probes: readonly TargetProbe[]): SlottedProbe[] {
  return probes.flatMap(({ target, ...probe }) => {
    const targetSlot = tables.targetSlot(target);
    return targetSlot === undefined ? [] : [{ ...probe, targetSlot }];
  });
}

/** One image, from its tables to the last route; a throw before the tables have flipped refuses it. */
async function adopt(parts: Parts, image: DirectorImage): Promise<void> {
  const { options, path, tables, guard, health, sync, cookies } = parts;
  const isFirst = tables.image === null;
  await tables.write(image);
  parts.isolation.configure(image);
  await sync.configure(image);
  await cookies.configure(image);
  const ours = ourAddresses(image);
  // Ours wins: an address that is both is a VIP.
  path.steer(UPLINK, new Map([...ourSources(image, ownAddresses()), ...ours]));
  await guard?.set(ours);
  health.configure(image);
  // Who has just come takes no new flows before it knows the old ones: routing would bring it both.
  if (isFirst) await join(parts);
  await announce(parts);
  GENERATION_APPLIED.publish({ node: options.id, generation: formatGeneration(image.generation) });
}

/** Draining until the peers have sent what they have; the first image is not acknowledged before. */
async function join({ path, sync, log, mode }: Parts): Promise<void> {
  path.setStatus(HeartbeatStatus.Draining);
  const begun = performance.now();
  await sync.joined();
  log.info({ ms: Math.round(performance.now() - begun), ...sync.counters() }, 'flows of the other directors are known');
  path.setStatus(mode.isDraining ? HeartbeatStatus.Draining : HeartbeatStatus.Serving);
}

async function drain({ path, announcer, mode, log }: Parts, isDraining: boolean): Promise<void> {
  mode.isDraining = isDraining;
  path.setStatus(isDraining ? HeartbeatStatus.Draining : HeartbeatStatus.Serving);
  await announcer?.drain(isDraining);
  log.info({ isDraining }, isDraining ? 'draining: no new flows, the old ones run on' : 'serving again');
}

/** Without the zone that a link-local address is shown with. */
function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((rows) => rows ?? []);
  return all.map((row) => row.address.replace(/%.*$/, ''));
}

function announceByBird(options: DirectorOptions, bird: BirdOptions, tables: DirectorTables, log: Log): Announcer {
  const { stateDir } = options;
  if (stateDir === undefined) throw new Error('announcing by BIRD needs a directory for its files: give stateDir');
  const pulses = tables.plan.workers.map((worker) => worker.state + WorkerState.at.heartbeat);
  return startBirdAnnouncer({ ...bird, stateDir, memory: tables.memory.buffer as SharedArrayBuffer, pulses, log });
}

async function announce({ announcer, tables }: Parts): Promise<void> {
  if (tables.image !== null) await announcer?.announce(tables.image);
}

/** Lets routing take everything away while packets are still forwarded, so an orderly end costs nobody a packet; first hands its flows over. */
async function leave({ announcer, path, sync }: Parts): Promise<void> {
  await sync.handOver();
  await announcer?.withdraw();
  path.setStatus(HeartbeatStatus.Leaving);
  const isWatched = (path.counters()['heartbeats'] ?? 0) > 0;
  if (isWatched || announcer !== null) await new Promise((resolve) => setTimeout(resolve, LEAVE_MS));
}

/** Packets come to all living directors alike, so each has an equal part of the limits. */
function equalShare(sync: FlowSync): LimitShare {
  const part = 1 / (1 + (sync.counters()['peersAlive'] ?? 0));
  return { packets: part, bits: part, connections: part };
}

function countersOf({ announcer, tables, path, sync, isolation }: Parts): Record<string, number> {
  const isolated = Object.entries(isolation.counters()).map(([name, value]) => [`isolation.${name}`, value]);
  const told = Object.entries(sync.counters()).map(([name, value]) => [`sync.${name}`, value]);
  const bound = bindingCounters(tables.plan, tables.memory, 0);
  const binding = Object.entries(bound).map(([name, value]) => [`binding.${name}`, value]);
  const announced = announcer?.counters?.() ?? {};
  return {
    ...readCounters(tables.core, path),
    ...Object.fromEntries([...isolated, ...told, ...binding]),
    ...announced,
    ...tables.traffic(),
  };
}

function connect(
  parts: Parts,
  controller: { readonly url: string; readonly token: string },
  keeper: ImageKeeper,
  { explainer, looker }: { readonly explainer: Explainer; readonly looker: Looker },
  port: PortInfo,
): Promise<Link> {
  const { options, log, mode } = parts;
  return connectLink({
    ...controller,
    node: options.id,
    role: 'director',
    log,
    keeper,
    describe: () => ({ port: port.detail, ...(mode.isDraining ? { draining: true } : {}) }),
    onLook: (query) => looker.look(query),
    async onDrain(draining) {
      await drain(parts, draining);
      return { node: options.id, draining, flows: countersOf(parts)['core.flowsActive'] ?? 0 };
    },
    onExplain: (query) => explainer.explain(query, keeper.applied?.generation),
    onCounters: () => countersOf(parts),
  });
}

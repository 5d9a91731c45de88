// An endpoint as a whole (data-plane.md P7, P20–P23): the other end of the tunnels on a VM host, a proxy node or a physical server.
// One shared memory, one packet worker; port 0 is the uplink, port 1 the inside device, the rest are VMs. Composition only.
import { type EndpointImage } from '@openclb/model';
import { pino } from 'pino';
import { readCounters } from './counters.ts';
import { type DataPath, startDataPath } from './data-path.ts';
import { type Inside, type InsideKind, openInside } from './endpoint-inside.ts';
import { type EndpointKernel, createEndpointKernel } from './endpoint-kernel.ts';
import { type EndpointTablesHandle, createEndpointTables } from './endpoint-tables.ts';
import { type VmPorts, createVmPorts } from './endpoint-vms.ts';
import { type KernelWatch, watchKernel } from './endpoint-watch.ts';
import { type Applied, type ImageKeeper, createImageKeeper } from './image-keeper.ts';
import { type Link, connectLink } from './link.ts';
import { type Log, messageOf } from './log.ts';
import { type NextHops, type StaticNextHops, startNextHops } from './next-hop.ts';
import { Steer, type PortKindName } from './port/port.ts';
import { type PortInfo } from './worker-messages.ts';

export interface EndpointOptions {
  /** Node id, as the controller knows it. */
  readonly id: string;
  /** Where images come from; without it, from `image`, `apply` and the disk. */
  readonly controller?: { readonly url: string; readonly token: string };
  readonly image?: EndpointImage;
  /** Keeps the last image. */
  readonly stateDir?: string;
  /** The device that faces the underlay. */
  readonly device: string;
  readonly port: 'auto' | PortKindName;
  /** How packets for this machine itself reach its kernel. */
  readonly inside?: InsideKind;
  /** Flows that the return memory holds; 262,144 by default. */
  readonly flows?: number;
  /** Rows of an image; 131,072 by default. */
  readonly rows?: number;
  readonly log?: Log;
  /** Next hops without a kernel to ask: memory ports and tests. */
  readonly nextHops?: StaticNextHops;
  /** The worker has died too often: the endpoint is of no use any more. */
  onGiveUp?(error: Error): void;
}

export interface Endpoint {
  readonly id: string;
  /** What carries the packets of the uplink: xdp, packet, tun, memory. */
  readonly port: PortKindName;
  readonly portInfo: PortInfo;
  readonly applied: Applied | null;
  /** VMs of the image that have no device here, and why. */
  missing(): ReadonlyMap<string, string>;
  apply(image: EndpointImage): Promise<void>;
  counters(): Record<string, number>;
  close(): Promise<void>;
}

const UPLINK = 0;
const INSIDE = 1;
const VM_FIRST = 2;
const PORTS = 256;
const FLOWS_DEFAULT = 1 << 18;
const ROWS_DEFAULT = 1 << 17;
/** GRE with key over IPv4; over IPv6 it is 48 (P14). */
const OVERHEAD = { v4: 28, v6: 48 } as const;

/** Everything that one running endpoint is made of. */
interface Parts {
  readonly options: EndpointOptions;
  readonly log: Log;
  readonly tables: EndpointTablesHandle;
  readonly path: DataPath;
  readonly uplink: PortInfo;
  readonly nextHops: NextHops;
  readonly kernel: EndpointKernel;
  readonly vms: VmPorts;
  readonly watch: KernelWatch;
  inside: Inside | null;
  image: EndpointImage | null;
  /** Images are applied one after the other, also those that are applied again. */
  turn: Promise<unknown>;
}

export async function startEndpoint(options: EndpointOptions): Promise<Endpoint> {
  const log: Log = options.log ?? pino({ name: `endpoint ${options.id}` });
  const { flows = FLOWS_DEFAULT, rows = ROWS_DEFAULT } = options;
  const tables = await createEndpointTables({ flows, rows, ports: PORTS });
  const path = startDataPath({
    role: 'endpoint',
    plan: tables.plan,
    memory: tables.memory,
    log,
    onPort: (port) => tables.setPort(port),
    onPunted: () => {},
    onSent: () => {},
    onDeath: () => tables.forget(),
    onGiveUp: (error) => options.onGiveUp?.(error),
  });
  let nextHops: NextHops | null = null;
  try {
    const { device, port: kind } = options;
    const uplink = await path.openPort({ index: UPLINK, kind, device, steered: true, silence: true });
    log.info(
      { port: uplink.kind, detail: uplink.detail, device, refused: uplink.refused },
      `packets are carried by ${uplink.kind}`,
    );
    nextHops = startNextHops({
      tables,
      port: uplink,
      log,
      ...(options.nextHops === undefined ? {} : { fixed: options.nextHops }),
    });
    return await serve(options, { log, tables, path, uplink, nextHops });
  } catch (error) {
    nextHops?.close();
    await path.close();
    throw error;
  }
}

type Started = Pick<Parts, 'log' | 'tables' | 'path' | 'uplink' | 'nextHops'>;

/** Connects what is there with where images come from. */
async function serve(options: EndpointOptions, started: Started): Promise<Endpoint> {
  const { log, path, uplink } = started;
  const watch = watchKernel({
    onLinks: () => vms.check(),
    onRoutes: () => void (parts.image?.localVips.length && again(parts)),
  });
  const { indexOf } = watch;
  const vms = createVmPorts({ path, log, from: VM_FIRST, to: PORTS, indexOf, onRetry: () => void again(parts) });
  const parts: Parts = {
    ...started,
    options,
    vms,
    watch,
    kernel: createEndpointKernel({ log }),
    inside: null,
    image: null,
    turn: Promise.resolve(),
  };
  const keeper = createImageKeeper({
    node: options.id,
    role: 'endpoint',
    stateDir: options.stateDir,
    log,
    onImage: (image) => inTurn(parts, () => adopt(parts, image as EndpointImage)),
  });
  await keeper.load();
  if (options.image !== undefined) {
    await keeper.apply(options.image).catch(async (error: unknown) => {
      await closeParts(parts);
      throw error;
    });
  }
  const link = options.controller === undefined ? null : await connect(parts, options.controller, keeper);
  return {
    id: options.id,
    port: uplink.kind,
    portInfo: uplink,
    get applied() {
      return keeper.applied;
    },
    missing: vms.missing,
    apply: (image) => keeper.apply(image),
    counters: () => countersOf(parts),
    async close() {
      await link?.close();
      await keeper.idle();
      await closeParts(parts);
    },
  };
}

async function closeParts({ vms, watch, kernel, inside, nextHops, path }: Parts): Promise<void> {
  vms.close();
  watch.close();
  await kernel.close();
  await inside?.close();
  nextHops.close();
  await path.close();
}

/** One image, from the ports that it names to the kernel's rules; a throw before the tables have flipped refuses it. */
async function adopt(parts: Parts, image: EndpointImage): Promise<void> {
  const { tables, path, uplink, vms, kernel, watch } = parts;
  const ports = await vms.sync(image.vms);
  parts.inside ??= needsInside(image) ? await insideFor(parts, image) : null;
  const { inside } = parts;
  await tables.write(image, { ports, inside: inside === null ? null : { port: inside.port.index, mac: inside.mac } });
  path.steer(UPLINK, tunnelEnds(image));
  await kernel.apply(image, inside?.device ?? null, {
    device: uplink.device,
    deviceIndex: watch.indexOf(uplink.device),
    tunnelMtu: tunnelMtu(parts, image),
    routes: watch.routes(),
  });
  parts.image = image;
}

function inTurn<T>(parts: Parts, work: () => Promise<T>): Promise<T> {
  const done = parts.turn.then(work);
  parts.turn = done.catch(() => undefined);
  return done;
}

/** The same image once more, because a device that was missing may be there. */
async function again(parts: Parts): Promise<void> {
  await inTurn(parts, async () => parts.image !== null && adopt(parts, parts.image)).catch((error: unknown) => {
    parts.log.error({ reason: messageOf(error) }, 'the image could not be applied again');
  });
}

function needsInside(image: EndpointImage): boolean {
  return image.sources.length + image.localVips.length + image.physical.length > 0;
}

function insideFor(parts: Parts, image: EndpointImage): Promise<Inside> {
  const { options, path, log } = parts;
  return openInside({ path, index: INSIDE, kind: options.inside ?? 'auto', mtu: tunnelMtu(parts, image), log });
}

/** The largest packet that a tunnel over our underlay carries. */
function tunnelMtu({ uplink }: Parts, image: EndpointImage): number {
  return uplink.mtu - (image.self.underlay.v4 === undefined ? OVERHEAD.v6 : OVERHEAD.v4);
}

/** Only tunnels that end here are taken from the kernel; everything else on the uplink is its own. */
function tunnelEnds({ self, physical }: EndpointImage): ReadonlyMap<string, number> {
  const ends = [self.underlay.v4, self.underlay.v6, ...physical].filter((text) => text !== undefined);
  return new Map(ends.map((text) => [text, Steer.Tunnel]));
}

function countersOf({ tables, path, vms }: Parts): Record<string, number> {
  return { ...readCounters(tables.core, path), ...tables.writer.counters(), 'endpoint.missingVms': vms.missing().size };
}

function connect(
  parts: Parts,
  controller: { readonly url: string; readonly token: string },
  keeper: ImageKeeper,
): Promise<Link> {
  const { options, log, uplink } = parts;
  return connectLink({
    ...controller,
    node: options.id,
    role: 'endpoint',
    log,
    keeper,
    describe: () => ({ port: uplink.detail }),
    onCounters: () => countersOf(parts),
  });
}

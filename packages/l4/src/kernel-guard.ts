// Keeps the director's kernel out of the data path's traffic (data-plane.md P1): blackhole routes for every address of ours and no
// forwarding, so a frame that a dying data path leaves to the kernel vanishes without RST or ICMP instead of telling a client something wrong.
import { promises } from 'node:fs';
import { ROUTE_PROTOCOL, ipBatch, ourRoutes } from './ip-batch.ts';
import { type Log, messageOf } from './log.ts';
import { type OurAddresses } from './ours.ts';

export interface KernelGuard {
  /** Blackholes these addresses and no others. */
  set(ours: OurAddresses): Promise<void>;
  /** Removes the routes; forwarding stays off until someone switches it on. */
  close(): Promise<void>;
}

export interface KernelGuardOptions {
  readonly log: Log;
  readonly run?: (commands: readonly string[]) => Promise<void>;
  /** Addresses that a run which was killed has left blackholed. */
  readonly leftOver?: () => Promise<readonly string[]>;
  /** Files that say whether the kernel forwards. */
  readonly sysctls?: readonly string[];
}

const FORWARDING = ['/proc/sys/net/ipv4/ip_forward', '/proc/sys/net/ipv6/conf/all/forwarding'];

export async function createKernelGuard({
  log,
  run = ipBatch,
  leftOver = () => ourRoutes('blackhole'),
  sysctls = FORWARDING,
}: KernelGuardOptions): Promise<KernelGuard> {
  // What an earlier run has left is taken over, so that addresses which are ours no more become reachable again.
  let guarded = new Set(await leftOver().catch(() => []));
  for (const path of sysctls) await switchOff(path, log);

  async function set(ours: OurAddresses): Promise<void> {
    const added = [...ours.keys()].filter((text) => !guarded.has(text)).map((text) => command('replace', text));
    const removed = [...guarded].filter((text) => !ours.has(text)).map((text) => command('del', text));
    try {
      await run([...added, ...removed]);
      guarded = new Set(ours.keys());
    } catch (error) {
      // Traffic flows without them; what is lost is the silence of a dying director.
      log.error(
        { reason: messageOf(error) },
        'blackhole routes are missing: if the data path dies, the kernel may answer clients',
      );
    }
  }

  return { set, close: () => set(new Map()) };
}

function command(verb: 'replace' | 'del', text: string): string {
  const isV6 = text.includes(':');
  // IPv6 knows no routes without a device; lo carries its blackholes.
  return `${isV6 ? '-6 ' : ''}route ${verb} blackhole ${text}/${isV6 ? 128 : 32} ${isV6 ? 'dev lo ' : ''}proto ${ROUTE_PROTOCOL}`;
}

async function switchOff(path: string, log: Log): Promise<void> {
  try {
    if ((await promises.readFile(path, 'utf8')).trim() === '0') return;
    await promises.writeFile(path, '0');
    log.warn({ path }, 'forwarding was on and is off now: a director forwards by its own data path only');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    log.warn({ path, reason: messageOf(error) }, 'cannot switch the forwarding of the kernel off');
  }
}

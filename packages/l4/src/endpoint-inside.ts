// The inside device: where this machine's own kernel and the endpoint meet (data-plane.md P20, P21, P23). A TUN device where one can be
// opened, else a veth pair whose far end is a packet port. Kernel links of kind dummy, gre, ipip or vrf are not needed.
import { promises } from 'node:fs';
import { type DataPath } from './data-path.ts';
import { ipBatch } from './ip-batch.ts';
import { type Log, messageOf } from './log.ts';
import { readDevice, setOffloads } from './port/device.ts';
import { type PortInfo } from './worker-messages.ts';

export const INSIDE_DEVICE = 'clb-inside';
const FAR_END = 'clb-far';

export type InsideKind = 'auto' | 'tun' | 'veth';

export interface Inside {
  readonly port: PortInfo;
  /** The device that the kernel routes into. */
  readonly device: string;
  /** Link address of the kernel's end; null without link headers. */
  readonly mac: Uint8Array | null;
  close(): Promise<void>;
}

export interface InsideOptions {
  readonly path: DataPath;
  readonly index: number;
  readonly kind: InsideKind;
  /** What fits into a tunnel: TCP of this machine then chooses its segments right by itself. */
  readonly mtu: number;
  readonly log: Log;
}

export async function openInside(options: InsideOptions): Promise<Inside> {
  // A veth pair that a killed process left behind would hide the name from a TUN device.
  await removeVeth();
  if (options.kind === 'veth') return openVeth(options);
  try {
    return await openTun(options);
  } catch (error) {
    if (options.kind === 'tun') throw error;
    options.log.info({ reason: messageOf(error) }, 'no TUN device here, the inside device is a veth pair');
    return openVeth(options);
  }
}

async function openTun({ path, index, mtu }: InsideOptions): Promise<Inside> {
  const port = await path.openPort({ index, kind: 'tun', device: INSIDE_DEVICE, mtu });
  return { port, device: INSIDE_DEVICE, mac: null, close: async () => path.closePort(index) };
}

/** Without ARP the kernel writes its own link address as destination, which no stack at the far end takes for its own. */
async function openVeth({ path, index, mtu }: InsideOptions): Promise<Inside> {
  await ipBatch([
    `link add ${INSIDE_DEVICE} type veth peer name ${FAR_END}`,
    `link set ${FAR_END} mtu ${mtu}`,
    `link set ${INSIDE_DEVICE} mtu ${mtu} arp off`,
  ]);
  try {
    // The far end belongs to the endpoint alone: no router solicitations, no listeners.
    await promises.writeFile(`/proc/sys/net/ipv6/conf/${FAR_END}/disable_ipv6`, '1').catch(() => undefined);
    setOffloads(INSIDE_DEVICE, false);
    await ipBatch([`link set ${FAR_END} up`, `link set ${INSIDE_DEVICE} up`]);
    const port = await path.openPort({ index, kind: 'packet', device: FAR_END });
    const close = async (): Promise<void> => {
      path.closePort(index);
      await removeVeth();
    };
    return { port, device: INSIDE_DEVICE, mac: readDevice(INSIDE_DEVICE).mac, close };
  } catch (error) {
    await removeVeth();
    throw error;
  }
}

async function removeVeth(): Promise<void> {
  await ipBatch([`link del ${FAR_END}`]).catch(() => undefined);
}

// Which VIPs are announced (data-plane.md P2): those whose listeners can serve. A VIP without listeners, or whose groups have no targets,
// would only draw packets to their drop.
import { type DirectorImage } from './image.ts';

/** Public VIPs with at least one listener whose group has targets, in the order of the image. Dead targets count: all dead is all alive (P12). */
export function vipsToAnnounce(image: Pick<DirectorImage, 'vips' | 'listeners' | 'groups'>): string[] {
  const filled = new Set(image.groups.filter((group) => group.targets.length > 0).map((group) => group.id));
  const serving = new Set(
    image.listeners.filter((row) => row.net === 0 && filled.has(row.group)).map((row) => row.vip),
  );
  return image.vips.filter(({ net, address }) => net === 0 && serving.has(address)).map(({ address }) => address);
}

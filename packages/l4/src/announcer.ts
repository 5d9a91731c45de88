// What a director tells a routing daemon (data-plane.md P2). Without one the static announcer beside the switch asks the workers itself (P35).
import { type DirectorImage } from '@openclb/model';

export interface Announcer {
  /** Everything of this image; resolves when routing has been told. */
  announce(image: DirectorImage): void | Promise<void>;
  /** A drain: VIPs, EIPs and E are withdrawn and tunnel addresses stay, because replies still come back to them. */
  drain(isDraining: boolean): void | Promise<void>;
  /** Everything, until the next `announce`. */
  withdraw(): void | Promise<void>;
  /** For `clb status` and metrics. */
  counters?(): Readonly<Record<string, number>>;
  close?(): Promise<void>;
}

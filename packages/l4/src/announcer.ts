// What a director tells a routing daemon (data-plane.md P2). Without one the static announcer beside the switch asks the workers itself (P35).
import { type DirectorImage } from '@openclb/model';

export interface Announcer {
  /** Everything of this image; resolves when routing has been told. */
  announce(image: DirectorImage): void | Promise<void>;
  /** `service`: VIPs, EIPs and E, for a drain; replies still come back. `all`: tunnel addresses too. */
  withdraw(what: 'service' | 'all'): void | Promise<void>;
  /** For `clb status` and metrics. */
  counters?(): Readonly<Record<string, number>>;
  close?(): Promise<void>;
}

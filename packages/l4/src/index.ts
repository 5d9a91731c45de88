// The public entry of the layer-4 roles: director, endpoint, the node's end of the link, ports.
export { type Endpoint, type EndpointOptions, startEndpoint } from './endpoint.ts';
export { type CachedImage, imageHash, readCachedImage, writeCachedImage } from './image-cache.ts';
export {
  type Applied,
  compareGenerations,
  createImageKeeper,
  formatGeneration,
  type ImageKeeper,
  type ImageKeeperOptions,
} from './image-keeper.ts';
export { connectLink, type Link, type LinkOptions } from './link.ts';
export { type Log, silentLog } from './log.ts';
export {
  type AnnouncedAddress,
  type AnnouncedDirector,
  type Announcements,
  type Liveness,
  planRoutes,
} from './announce.ts';
export { startSwitchAnnouncer, type SwitchAnnouncer, type SwitchAnnouncerOptions } from './switch-announcer.ts';
export { ROUTE_PROTOCOL } from './ip-batch.ts';
export { HEARTBEAT_PORT } from './heartbeat.ts';
export { type Announcer } from './announcer.ts';
export { type BirdOptions } from './bird/config.ts';
export { type Director, type DirectorOptions, startDirector } from './director.ts';
export { type Watermark } from './isolation.ts';
export { unaccounted } from './counters.ts';
export { type StaticNextHops } from './next-hop.ts';
export { type PortInfo } from './worker-messages.ts';
export { PORT_KINDS, type Port, type PortKindName, type PortOptions, type PortRoom, Steer } from './port/port.ts';
export { openPort, pollPorts } from './port/open.ts';
export { createWirePair } from './port/memory.ts';
export { createPcapWriter, LinkType, type PcapWriter, readCapture } from './port/pcapng.ts';
export { setOffloads } from './port/device.ts';

// The public entry of the layer-4 roles: director, endpoint, the node's end of the link, ports.
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

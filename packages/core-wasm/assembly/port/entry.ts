// A core that only moves frames, for the bench of the ports: their four moves and the smallest walk.
export { init } from '../memory';
export { hairpin } from './hairpin';
export { receive, recycle, send, transmit } from './port';

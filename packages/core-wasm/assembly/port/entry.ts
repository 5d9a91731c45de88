// A core that only moves frames: the exports of port.ts alone, for the conformance suite of the ports and their bench.
export { initPorts, receive, recycle, send, transmit } from './port';
export { hairpin } from './hairpin';

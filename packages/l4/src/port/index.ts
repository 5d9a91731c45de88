// The ports, as the rest of l4 sees them.
export { readDevice, setMtu, setOffloads, setUp, type Device } from './device.ts';
export { createWirePair } from './memory.ts';
export { openPort, pollPorts } from './open.ts';
export { createPcapWriter, LinkType, type PcapWriter, readCapture } from './pcapng.ts';
export { PORT_KINDS, Steer } from './port.ts';
export type { LinearMemory, MemoryWire, Port, PortKindName, PortOptions, PortRoom } from './port.ts';

// @openclb/core-wasm: the packet core for programs that use it alone, and the parts a director is made of.
export { RULES_PER_PREFIX_MAX, type AccessListInput, type AccessRuleInput } from './access-lists.ts';
export { formatAddress, isMapped, parseAddress } from './address.ts';
export { Core, type Artefact, type CoreOptions, type UnresolvedNextHop } from './core.ts';
export {
  EndpointWriter,
  endpointTableBytes,
  hashEndpointKey,
  returnMemoryBytes,
  type EndpointEntry,
  type EndpointTables,
} from './endpoint.ts';
export { dissect, type DissectOptions, type DissectedField, type DissectedLayer, type Dissection } from './dissect.ts';
export { explain, type ExplainNames, type ExplainedStep, type Explanation } from './explain.ts';
export { hashText, jump, maglev, primeAtMost, rendezvous, type MaglevMember } from './hash.ts';
export type { DirectorTables, GroupInput, ListenerInput, TargetInput } from './image-input.ts';
export { ImageWriter } from './image.ts';
export { cookieEpoch, cookieKeys, writeCookieKeys, type CookieKeys } from './cookie.ts';
export {
  createMeters,
  divideShares,
  readMeter,
  writeMeter,
  type MeterAnswer,
  type MeterCounters,
  type MeterLimits,
  type Meters,
} from './meters.ts';
export { createSctp, type SctpTools } from './sctp.ts';
export {
  createTcp,
  type CookieRefusal,
  type ProvenHandshake,
  type ProxiedEnds,
  type TcpOptions,
  type TcpTools,
  type ToaClient,
  type Translation,
} from './tcp.ts';
export { type WorkbenchOptions } from './workbench.ts';
export { clearBinding } from './binding-plan.ts';
export { bindingCounters, openBinding, type Binding } from './binding.ts';
export { NextHopTable, type AddressLike, type PortSettings } from './next-hop.ts';
export {
  CaptureError,
  LinkType,
  formatOf,
  pcapHeader,
  pcapRecord,
  pcapngHeader,
  pcapngInterface,
  pcapngPacket,
  readCapture,
  summarizeCapture,
  writePcap,
  writePcapng,
  type CaptureInterface,
  type CaptureLimits,
  type CaptureSummary,
  type CapturedFrame,
  type FrameToWrite,
  type InterfaceToWrite,
  type PcapOptions,
  type PcapngOptions,
  type SectionOptions,
} from './pcap.ts';
export {
  allocate,
  planMemory,
  type LinearMemory,
  type MemoryPlan,
  type PlanOptions,
  type PortPlan,
  type WorkerPlan,
} from './plan.ts';
export { ServiceMeters } from './service-meters.ts';
export { SlotAllocator, createSlots, type SlotOptions, type Slots } from './slots.ts';
export { buildProbe, type ProbePacket } from './probe.ts';
export {
  PacketError,
  createCore,
  type CreateOptions,
  type Ends,
  type ParseVerdict,
  type ParsedPacket,
  type StandaloneCore,
  type Tunnel,
} from './standalone.ts';
export { NEVER, SyncTable, type SyncHaste, type SyncPage, type SyncRecord } from './sync.ts';
export { setFlowTimeouts, type FlowTimeouts } from './timeouts.ts';

// @openclb/core-wasm: the packet core for programs that use it alone, and the parts a director is made of.
export {
  EndpointWriter,
  endpointTableBytes,
  hashEndpointKey,
  returnMemoryBytes,
  type EndpointEntry,
  type EndpointTables,
} from './endpoint.ts';
export { Core, type Artefact, type CoreOptions, type UnresolvedNextHop } from './core.ts';
export {
  allocate,
  planMemory,
  type LinearMemory,
  type MemoryPlan,
  type PlanOptions,
  type PortPlan,
  type WorkerPlan,
} from './plan.ts';

// The resources of the native REST dialect: their paths, the words people type for them, and the columns worth showing.
import { usageError } from './errors.ts';
import { didYouMean } from './nearest.ts';

export interface Resource {
  /** The path segment under /v1, which is also the word in commands. */
  readonly name: string;
  readonly aliases: readonly string[];
  readonly columns: readonly string[];
  /** Query parameter that narrows the list. */
  readonly filter?: string;
}

export const resources: readonly Resource[] = [
  { name: 'load-balancers', aliases: ['lb', 'lbs'], columns: ['id', 'name', 'network', 'vpcId', 'vips'] },
  {
    name: 'listeners',
    aliases: ['lbl'],
    columns: ['id', 'name', 'loadBalancer', 'protocol', 'port', 'scheduler', 'translation', 'targetGroup'],
    filter: 'loadBalancer',
  },
  {
    name: 'rules',
    aliases: ['loc'],
    columns: ['id', 'listener', 'domain', 'path', 'targetGroup', 'isDefault'],
    filter: 'listener',
  },
  { name: 'target-groups', aliases: ['tg', 'tgs', 'lbtg'], columns: ['id', 'name', 'targets'] },
  { name: 'vpcs', aliases: [], columns: ['id', 'name', 'cidrs'] },
  {
    name: 'instances',
    aliases: ['vm', 'vms', 'ins'],
    columns: ['id', 'name', 'vpcId', 'addresses', 'host', 'device', 'mac'],
  },
  { name: 'nodes', aliases: [], columns: ['id', 'role', 'underlay', 'ordinal', 'tunnels'] },
  { name: 'eips', aliases: [], columns: ['id', 'name', 'address', 'state', 'binding'] },
  { name: 'certificates', aliases: ['certs'], columns: ['id', 'name', 'state', 'notAfter', 'problem'] },
];

/** 'listener', 'listeners' and 'lbl' all name listeners. */
export function resourceOf(word: string): Resource {
  const wanted = word.toLowerCase();
  const found = resources.find(
    (resource) => resource.name === wanted || resource.name === `${wanted}s` || resource.aliases.includes(wanted),
  );
  if (found !== undefined) return found;
  const words = resources.flatMap((resource) => [resource.name, resource.name.replace(/s$/, ''), ...resource.aliases]);
  throw usageError(
    `there is no resource '${word}'${didYouMean(word, words)}`,
    `resources: ${resources.map((resource) => resource.name).join(', ')}`,
  );
}

/** A list answer is an array, or an object with `items`. */
export function itemsOf(answer: unknown): Record<string, unknown>[] {
  const list = Array.isArray(answer) ? answer : (answer as { items?: unknown } | null)?.items;
  return Array.isArray(list) ? (list as Record<string, unknown>[]) : [];
}

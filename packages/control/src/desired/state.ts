// The desired state as typed objects: what compile reads. Values come from the store, so each is checked against its schema;
// one that does not fit (written by another version) is kept out and named, and only what uses it suffers.
import {
  AcmeOrder,
  Certificate,
  CertificateSecret,
  Eip,
  Instance,
  Listener,
  LoadBalancer,
  Name,
  Node,
  Rule,
  TargetGroup,
  Vpc,
} from '@openclb/model';
import { type Static, type TSchema, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { KEY, PREFIX, type StoredKind } from './keys.ts';

const closed = { additionalProperties: false } as const;
const { revision: _vpc, ...vpc } = Vpc.properties;
const { revision: _node, ...node } = Node.properties;
const { revision: _instance, ...instance } = Instance.properties;
const { revision: _group, ...targetGroup } = TargetGroup.properties;
const { revision: _loadBalancer, ...loadBalancer } = LoadBalancer.properties;
const { revision: _listener, ...listener } = Listener.properties;
const { revision: _rule, ...rule } = Rule.properties;
const { revision: _eip, ...eip } = Eip.properties;

export const StoredVpc = Type.Object(vpc, closed);
export type StoredVpc = Static<typeof StoredVpc>;
export const StoredNode = Type.Object(node, closed);
export type StoredNode = Static<typeof StoredNode>;
export const StoredInstance = Type.Object(instance, closed);
export type StoredInstance = Static<typeof StoredInstance>;
/** `order` is what the controller knows of its dealings with an ACME authority; it holds secrets and is never shown. */
export const StoredCertificate = Type.Object(
  {
    ...Type.Partial(CertificateSecret).properties,
    id: CertificateSecret.properties.id,
    name: Name,
    acme: Type.Optional(AcmeOrder),
    state: Certificate.properties.state,
    notAfter: Certificate.properties.notAfter,
    problem: Certificate.properties.problem,
    order: Type.Optional(
      Type.Object(
        {
          accountKey: Type.String(),
          failures: Type.Integer({ minimum: 0 }),
          nextAtMs: Type.Number(),
          challenges: Type.Array(Type.Object({ token: Type.String(), answer: Type.String() }, closed)),
        },
        closed,
      ),
    ),
  },
  closed,
);
export type StoredCertificate = Static<typeof StoredCertificate>;
export const StoredTargetGroup = Type.Object(targetGroup, closed);
export type StoredTargetGroup = Static<typeof StoredTargetGroup>;
export const StoredLoadBalancer = Type.Object(loadBalancer, closed);
export type StoredLoadBalancer = Static<typeof StoredLoadBalancer>;
export const StoredRule = Type.Object(rule, closed);
export type StoredRule = Static<typeof StoredRule>;
/** Rules live inside their listener, so that deleting a load balancer stays one transaction of bounded size (B8). */
export const StoredListener = Type.Object({ ...listener, rules: Type.Array(StoredRule) }, closed);
export type StoredListener = Static<typeof StoredListener>;
export const StoredEip = Type.Object(eip, closed);
export type StoredEip = Static<typeof StoredEip>;

export interface Stored {
  vpc: StoredVpc;
  node: StoredNode;
  instance: StoredInstance;
  certificate: StoredCertificate;
  targetGroup: StoredTargetGroup;
  loadBalancer: StoredLoadBalancer;
  listener: StoredListener;
  eip: StoredEip;
}

const SCHEMAS: { [K in StoredKind]: TSchema } = {
  vpc: StoredVpc,
  node: StoredNode,
  instance: StoredInstance,
  certificate: StoredCertificate,
  targetGroup: StoredTargetGroup,
  loadBalancer: StoredLoadBalancer,
  listener: StoredListener,
  eip: StoredEip,
};
const KINDS = Object.keys(SCHEMAS) as StoredKind[];
const CHECKS = new Map(KINDS.map((kind) => [kind, Compile(SCHEMAS[kind])] as const));

/** Everything by store key. */
export type DesiredState = { readonly revision: number } & {
  readonly [K in StoredKind]: ReadonlyMap<string, Stored[K]>;
} & {
  /** 64 hex digits; null in a store that no controller with flow sync has opened yet. */
  readonly clusterSecret: string | null;
  /** Store key → why its value cannot be used. */
  readonly broken: ReadonlyMap<string, string>;
  /** Changes whenever an instance or a node changes: what was resolved with another one must be resolved again. */
  readonly placementToken: object;
};

export type MutableState = { revision: number; clusterSecret: string | null; placementToken: object } & {
  [K in StoredKind]: Map<string, Stored[K]>;
} & {
  broken: Map<string, string>;
};

export function emptyState(): MutableState {
  return {
    revision: 0,
    clusterSecret: null,
    vpc: new Map(),
    node: new Map(),
    instance: new Map(),
    certificate: new Map(),
    targetGroup: new Map(),
    loadBalancer: new Map(),
    listener: new Map(),
    eip: new Map(),
    broken: new Map(),
    placementToken: {},
  };
}

const isSecret = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);

/** Which kind of object a key holds; undefined for claims, locks and the like. */
export function kindOf(key: string): StoredKind | undefined {
  return KINDS.find((kind) => key.startsWith(PREFIX[kind]));
}

/** Takes one change into the state. `value` is the parsed JSON, undefined for a deleted key. */
export function putIntoState(state: MutableState, key: string, value: unknown): void {
  if (key === KEY.clusterSecret) state.clusterSecret = isSecret(value) ? value : null;
  const kind = kindOf(key);
  if (kind === undefined) return;
  state.broken.delete(key);
  if (kind === 'instance' || kind === 'node') state.placementToken = {};
  const map = state[kind] as Map<string, unknown>;
  if (value === undefined) {
    map.delete(key);
    return;
  }
  const check = CHECKS.get(kind);
  if (check?.Check(value)) {
    map.set(key, value);
    return;
  }
  const [error] = check?.Errors(value) ?? [];
  map.delete(key);
  state.broken.set(key, `${error?.instancePath || 'value'} ${error?.message ?? 'does not fit'}`);
}

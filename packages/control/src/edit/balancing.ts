// Edits of load balancers, listeners, rules, target groups and certificates. After each, the load balancers it touches must compile.
import { createPublicKey, X509Certificate, createPrivateKey } from 'node:crypto';
import { firstFree } from '@openclb/eip-ipv6';
import {
  address,
  canonicalJson,
  type CertificateInput,
  cidr,
  cidrContains,
  ClbError,
  HEALTH_CHECK_DEFAULTS,
  type HealthCheck,
  LIMITS,
  type LoadBalancerInput,
  TARGET_DEFAULTS,
  TARGET_GROUP_DEFAULTS,
  type TargetGroupInput,
  type TargetInput,
  targetKind,
} from '@openclb/model';
import { KEY } from '../desired/keys.ts';
import type { StoredCertificate, StoredLoadBalancer, StoredTargetGroup, StoredVpc } from '../desired/state.ts';
import { checkedAccess } from './access.ts';
import { releaseClaims, takeClaims } from './claims.ts';
import { compact, type Edit, newId, reject, requireReference, requireUsableAddress } from './context.ts';
import { checkCustomConfig } from './custom.ts';
import { requireHost } from './network.ts';

export function saveLoadBalancer(
  edit: Edit,
  input: LoadBalancerInput,
  before?: StoredLoadBalancer,
): StoredLoadBalancer {
  const network = input.network ?? 'public';
  if (network === 'internal' && input.vpcId === undefined)
    reject('/vpcId', 'is required for an internal load balancer');
  if (network === 'public' && input.vpcId !== undefined) reject('/vpcId', 'is for internal load balancers');
  if (before && (before.network !== network || before.vpcId !== input.vpcId))
    reject('/network', 'cannot change; create another load balancer');
  const id = before?.id ?? input.id ?? newId(edit, 'loadBalancer', input.name);
  const vpc =
    input.vpcId === undefined
      ? undefined
      : requireReference<StoredVpc>(edit, KEY.vpc(input.vpcId), '/vpcId', input.vpcId);
  if (before) releaseClaims(edit, 'loadBalancer', before);
  const vips = input.vips ? givenVips(edit, input.vips, vpc) : (before?.vips ?? allocatedVips(edit, input, network));
  const { customConfig } = input;
  if (customConfig !== undefined) checkCustomConfig(customConfig);
  const access = input.access === undefined ? undefined : checkedAccess(input.access);
  const fields = { id, name: input.name, network, vpcId: vpc?.id, vips, access, customConfig };
  const loadBalancer = compact(fields) as StoredLoadBalancer;
  takeClaims(edit, 'loadBalancer', loadBalancer);
  edit.draft.put(KEY.loadBalancer(id), loadBalancer);
  edit.draft.put(KEY.lock(id), { owner: id });
  return loadBalancer;
}

function givenVips(edit: Edit, vips: readonly string[], vpc: StoredVpc | undefined): string[] {
  const blocks = (vpc?.cidrs ?? []).map(cidr);
  return vips.map((text, index) => {
    const canonical = requireUsableAddress(edit, `/vips/${index}`, text);
    if (blocks.length > 0 && !blocks.some((block) => cidrContains(block, address(canonical)))) {
      reject(`/vips/${index}`, `${canonical} is in no block of VPC ${vpc?.id}`);
    }
    return canonical;
  });
}

function allocatedVips(edit: Edit, input: LoadBalancerInput, network: 'public' | 'internal'): string[] {
  if (network === 'internal')
    reject('/vips', 'is required for an internal load balancer', 'Choose a free address of the VPC.');
  return (input.families ?? ['v4']).map((family) => {
    const found = firstFree(
      edit.pools.vip,
      family === 'v4' ? 4 : 6,
      (text) => edit.draft.peek(KEY.address(0, text)) !== undefined,
    );
    if (found === undefined) throw new ClbError('PoolExhausted', { pool: `VIP (${family})` });
    return found;
  });
}

export function saveTargetGroup(edit: Edit, input: TargetGroupInput, before?: StoredTargetGroup): StoredTargetGroup {
  const id = before?.id ?? input.id ?? newId(edit, 'targetGroup', input.name);
  const targets = saveTargets(edit, id, input.targets ?? [], before?.targets ?? []);
  const healthCheck = completeHealthCheck(input.healthCheck ?? {});
  const group = compact({
    id,
    name: input.name,
    slots: input.slots ?? TARGET_GROUP_DEFAULTS.slots,
    healthCheck,
    resilience: input.resilience,
    targets,
  }) as StoredTargetGroup;
  if (before) releaseClaims(edit, 'targetGroup', before);
  takeClaims(edit, 'targetGroup', group);
  edit.draft.put(KEY.targetGroup(id), group);
  return group;
}

/** Ids survive: a target that is spelled as before keeps its id, and with it its flows. */
function saveTargets(
  edit: Edit,
  group: string,
  inputs: readonly TargetInput[],
  before: StoredTargetGroup['targets'],
): StoredTargetGroup['targets'] {
  if (inputs.length > LIMITS.targetsPerGroupMax) {
    throw new ClbError('LimitExceeded', { limit: LIMITS.targetsPerGroupMax, what: 'targets per group' });
  }
  const ids = new Map(before.map((target) => [spelling(target), target.id]));
  const seen = new Set<string>();
  return inputs.map((input, index) => {
    const field = `/targets/${index}`;
    const { id: given, ...resolved } = checkTarget(edit, input, field);
    const key = spelling(resolved);
    if (seen.has(key)) reject(field, 'is in the list twice');
    seen.add(key);
    const id = given ?? ids.get(key) ?? newId(edit, 'target', `${group}/${key}`);
    if (seen.has(id)) reject(`${field}/id`, `${id} is in the list twice`);
    seen.add(id);
    return { id, ...resolved, weight: input.weight ?? TARGET_DEFAULTS.weight };
  });
}

function checkTarget(edit: Edit, input: TargetInput, field: string): TargetInput {
  const kind = targetKind(input);
  switch (kind.kind) {
    case 'invalid':
      return reject(kind.field === '' ? field : `${field}/${kind.field}`, kind.rule);
    case 'instance':
      requireReference(edit, KEY.instance(kind.instance), `${field}/instance`, kind.instance);
      return input;
    case 'vpc': {
      requireReference(edit, KEY.vpc(kind.vpc), `${field}/vpc`, kind.vpc);
      if (kind.host !== undefined) requireHost(edit, `${field}/host`, kind.host);
      return { ...input, address: requireUsableAddress(edit, `${field}/address`, kind.address) };
    }
    case 'physical':
      return {
        ...input,
        physical: requireUsableAddress(edit, `${field}/physical`, kind.address),
        // No endpoint can join a single machine: what is left unsaid means as it is.
        encapsulation: edit.isOneBox ? (input.encapsulation ?? 'none') : kind.encapsulation,
      };
  }
}

function spelling(target: TargetInput): string {
  return [target.instance, target.vpc, target.address, target.physical, target.port]
    .map((part) => part ?? '')
    .join('|');
}

function checkProbe({ type = 'tcp', httpBody, httpMethod, httpVersion, grpcService, grpcCodes }: HealthCheck): void {
  const isHttp = type === 'http' || type === 'https';
  if (!isHttp && (httpBody ?? httpVersion) !== undefined) {
    reject(`/healthCheck/${httpBody === undefined ? 'httpVersion' : 'httpBody'}`, 'is for http and https checks');
  }
  if (httpBody !== undefined && httpMethod !== 'GET') {
    reject('/healthCheck/httpBody', 'needs the method GET: the answer to HEAD has no body');
  }
  if (!type.startsWith('grpc') && (grpcService ?? grpcCodes) !== undefined) {
    reject(`/healthCheck/${grpcService === undefined ? 'grpcCodes' : 'grpcService'}`, 'is for grpc and grpcs checks');
  }
}

/** Every default written out. A short interval shortens the default timeout, which must stay below it. */
export function completeHealthCheck(input: HealthCheck): HealthCheck {
  const intervalSeconds = input.intervalSeconds ?? HEALTH_CHECK_DEFAULTS.intervalSeconds;
  const timeoutSeconds = input.timeoutSeconds ?? Math.min(HEALTH_CHECK_DEFAULTS.timeoutSeconds, intervalSeconds - 1);
  if (timeoutSeconds >= intervalSeconds)
    reject('/healthCheck/timeoutSeconds', `must be less than the interval of ${intervalSeconds} s`);
  checkProbe(input);
  return { ...HEALTH_CHECK_DEFAULTS, ...compact(input), intervalSeconds, timeoutSeconds };
}

export function saveCertificate(edit: Edit, input: CertificateInput, before?: StoredCertificate): StoredCertificate {
  const id = before?.id ?? input.id ?? newId(edit, 'certificate', input.name);
  const stored = input.acme === undefined ? givenCertificate(input) : orderedCertificate(input, before);
  const certificate = compact({ ...stored, id, name: input.name }) as StoredCertificate;
  if (before) releaseClaims(edit, 'certificate', before);
  takeClaims(edit, 'certificate', certificate);
  edit.draft.put(KEY.certificate(id), certificate);
  return certificate;
}

const SUCCESSFUL = Buffer.from([0x0a, 0x01, 0x00]);

/** An OCSPResponse (RFC 6960 4.2.1) that says `successful`; the others tell a client nothing. */
function checkedOcsp(text: string): string {
  const der = Buffer.from(text, 'base64');
  const status = der[1]! < 0x80 ? 2 : 2 + (der[1]! & 0x7f);
  const isWhole = der[0] === 0x30 && der.subarray(status, status + 3).equals(SUCCESSFUL);
  return isWhole ? text : reject('/ocsp', 'is not a successful OCSP response in DER, base64');
}

function givenCertificate({ certificate, privateKey, ocsp }: CertificateInput): Partial<StoredCertificate> {
  if (certificate === undefined) return reject('/certificate', 'is missing', 'Give certificate and key, or `acme`.');
  if (privateKey === undefined) return reject('/privateKey', 'is missing', 'Certificate and key belong together.');
  checkKeyPair({ certificate, privateKey });
  return { certificate, privateKey, ...(ocsp === undefined ? {} : { ocsp: checkedOcsp(ocsp) }) };
}

/** What was issued stays in use until there is something newer; another order begins at once. */
function orderedCertificate(
  { certificate, ocsp, acme }: CertificateInput,
  before?: StoredCertificate,
): Partial<StoredCertificate> {
  if (certificate !== undefined && certificate !== before?.certificate)
    reject('/certificate', 'excludes acme', 'An ACME certificate is obtained by the controller.');
  if (ocsp !== undefined && ocsp !== before?.ocsp) reject('/ocsp', 'excludes acme');
  if (before?.acme === undefined) return compact({ ...before, acme, state: 'waiting' }) as Partial<StoredCertificate>;
  if (canonicalJson(before.acme) === canonicalJson(acme)) return before;
  const order = before.order && { ...before.order, failures: 0, nextAtMs: 0 };
  return compact({ ...before, acme, order, state: 'waiting', problem: undefined }) as Partial<StoredCertificate>;
}

function checkKeyPair({ certificate, privateKey }: { certificate: string; privateKey: string }): void {
  const der = (field: string, text: string, read: (pem: string) => Uint8Array): Uint8Array => {
    try {
      return read(text);
    } catch {
      return reject(field, 'is not PEM that can be read');
    }
  };
  const spki = { type: 'spki', format: 'der' } as const;
  const ofCertificate = der('/certificate', certificate, (pem) => new X509Certificate(pem).publicKey.export(spki));
  const ofKey = der('/privateKey', privateKey, (pem) => createPublicKey(createPrivateKey(pem)).export(spki));
  if (Buffer.compare(ofCertificate, ofKey) !== 0) reject('/privateKey', 'does not belong to the certificate');
}

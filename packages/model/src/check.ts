// The edge check of everything that crosses the link: null when the value is well formed, else one sentence that names the field.
// The kind of message and the role of an image are looked at first, so that an error speaks of that kind and not of a union.
import { type TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { DirectorImage, EndpointImage, ProxyImage } from './image.ts';
import { FromNode, LINK_VERSION, ServiceAnswer, ToNode } from './link.ts';

type Check = (value: unknown) => string | null;

/** Compiles a schema at its first use; most processes need few of them. */
function checker(schema: TSchema): Check {
  let compiled: ReturnType<typeof Compile> | undefined;
  return (value) => {
    compiled ??= Compile(schema);
    if (compiled.Check(value)) return null;
    const [first] = compiled.Errors(value);
    if (first === undefined) return 'does not match its schema';
    const field = first.instancePath === '' ? '' : `${first.instancePath.slice(1).replaceAll('/', '.')}: `;
    const extra = first.params as { additionalProperties?: readonly string[] };
    const named =
      extra.additionalProperties === undefined ? '' : ` (${extra.additionalProperties.slice(0, 5).join(', ')})`;
    return `${field}${first.message}${named}`;
  };
}

const IMAGE_CHECKS: Record<string, Check> = {
  director: checker(DirectorImage),
  endpoint: checker(EndpointImage),
  proxy: checker(ProxyImage),
};
const TO_NODE = messageChecks(ToNode);
const FROM_NODE = messageChecks(FromNode);

function messageChecks(union: typeof ToNode | typeof FromNode): Record<string, Check> {
  const checks: Record<string, Check> = {};
  for (const member of union.anyOf) checks[member.properties.type.const] = checker(member);
  return checks;
}

/** Null when `value` is an image of any role that this version understands completely (B14: unknown fields are errors). */
export function checkImage(value: unknown): string | null {
  const role = memberOf(value, 'role');
  const check = typeof role === 'string' ? IMAGE_CHECKS[role] : undefined;
  return check === undefined ? `role: must be one of ${Object.keys(IMAGE_CHECKS).join(', ')}` : check(value);
}

/** Null when `value` is a message that a node may act on. */
export function checkToNode(value: unknown): string | null {
  if (memberOf(value, 'type') === 'image' && versionError(value) === null) {
    const error = checkImage(memberOf(value, 'image'));
    if (error !== null) return `image: ${error}`;
  }
  return checkMessage(TO_NODE, value);
}

const SERVICE_ANSWER = checker(ServiceAnswer);

/** Null when `value` is a target group that a client-side balancer may use. */
export function checkServiceAnswer(value: unknown): string | null {
  return SERVICE_ANSWER(value);
}

/** Null when `value` is a message that a controller may act on. */
export function checkFromNode(value: unknown): string | null {
  return checkMessage(FROM_NODE, value);
}

function checkMessage(checks: Record<string, Check>, value: unknown): string | null {
  const version = versionError(value);
  if (version !== null) return version;
  const type = memberOf(value, 'type');
  const check = typeof type === 'string' && Object.hasOwn(checks, type) ? checks[type] : undefined;
  return check === undefined ? `type: must be one of ${Object.keys(checks).join(', ')}` : check(value);
}

function versionError(value: unknown): string | null {
  const version = memberOf(value, 'version');
  if (version === LINK_VERSION) return null;
  if (typeof version === 'number' && version > LINK_VERSION) {
    return `version: the message is of link version ${version}, this node knows up to ${LINK_VERSION}; upgrade this node`;
  }
  return `version: must be ${LINK_VERSION}`;
}

function memberOf(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;
}

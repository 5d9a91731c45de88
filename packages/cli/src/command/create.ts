// clb create and clb update: one command per resource, its flags made from the schema that the API checks the body against.
import {
  CertificateInput,
  CertificatePatch,
  InstanceInput,
  InstancePatch,
  ListenerInput,
  ListenerPatch,
  LoadBalancerInput,
  LoadBalancerPatch,
  NodeInput,
  NodePatch,
  RuleInput,
  RulePatch,
  TargetGroupInput,
  TargetGroupPatch,
  VpcInput,
  VpcPatch,
} from '@openclb/model';
import type { Command, Context } from '../command.ts';
import { ExitStatus, usageError } from '../errors.ts';
import type { Flag, Flags, Value } from '../flags.ts';
import type { Schema } from '../schema.ts';

interface Shape {
  readonly resource: string;
  readonly input: object;
  readonly patch: object;
  readonly example: string;
  readonly change: string;
}

const shapes: readonly Shape[] = [
  {
    resource: 'load-balancer',
    input: LoadBalancerInput,
    patch: LoadBalancerPatch,
    example: '--name web --vips 203.0.113.10',
    change: 'lb-web --name shop',
  },
  {
    resource: 'listener',
    input: ListenerInput,
    patch: ListenerPatch,
    example: '--load-balancer lb-web --protocol TCP --port 80 --target-group lbtg-web',
    change: 'lbl-web --idle-seconds 300',
  },
  {
    resource: 'rule',
    input: RuleInput,
    patch: RulePatch,
    example: '--listener lbl-web --domain www.example.com --path /api/ --target-group lbtg-api',
    change: 'loc-api --scheduler ip-hash',
  },
  {
    resource: 'target-group',
    input: TargetGroupInput,
    patch: TargetGroupPatch,
    example: "--name web --targets '[{instance: ins-a1, port: 80}]'",
    change: "lbtg-web --health-check '{type: http, httpPath: /healthz}'",
  },
  {
    resource: 'vpc',
    input: VpcInput,
    patch: VpcPatch,
    example: '--id 100 --cidrs 10.0.0.0/16',
    change: '100 --name tenant-a',
  },
  {
    resource: 'instance',
    input: InstanceInput,
    patch: InstancePatch,
    example: '--id ins-a1 --vpc-id 100 --addresses 10.0.0.2 --host host1 --device tap0 --mac 02:00:00:00:00:01',
    change: 'ins-a1 --host host2',
  },
  {
    resource: 'node',
    input: NodeInput,
    patch: NodePatch,
    example: "--id ld1 --role director --underlay '{v4: 192.0.2.11}'",
    change: 'ld1 --workers 2',
  },
  {
    resource: 'certificate',
    input: CertificateInput,
    patch: CertificatePatch,
    example: '--name www --certificate @www.crt --private-key @www.key',
    change: 'cert-www --certificate @www.crt --private-key @www.key',
  },
];

const valuesText =
  'A list is written with commas; an object, or a list of objects, as in YAML; @FILE takes the content of a file.';

export const createCommands: readonly Command[] = shapes.map((shape) => {
  const flags = flagsOf(shape.input as Schema, true);
  return {
    name: `create ${shape.resource}`,
    group: 'configure',
    summary: `create a ${shape.resource}`.replace(/\ba (?=[aeiou])/, 'an '),
    text: valuesText,
    arguments: [],
    flags,
    connects: true,
    examples: [`clb create ${shape.resource} ${shape.example}`],
    run: (input: { flags: Record<string, Value | undefined> }, context: Context) =>
      send(context, 'POST', `/v1/${shape.resource}s`, bodyOf(shape.input as Schema, input.flags), 'created'),
  } as Command;
});

export const updateCommands: readonly Command[] = shapes.map((shape) => {
  const flags = flagsOf(shape.patch as Schema, false);
  return {
    name: `update ${shape.resource}`,
    group: 'configure',
    summary: `change a ${shape.resource}`.replace(/\ba (?=[aeiou])/, 'an '),
    text: valuesText,
    arguments: [{ name: 'id', schema: { type: 'string' }, required: true, text: `id of the ${shape.resource}` }],
    flags,
    connects: true,
    examples: [`clb update ${shape.resource} ${shape.change}`],
    run: (input: { flags: Record<string, Value | undefined>; arguments: { id: string } }, context: Context) => {
      const body = bodyOf(shape.patch as Schema, input.flags);
      if (Object.keys(body).length === 0)
        throw usageError('nothing to change', `see: clb help update ${shape.resource}`);
      const path = `/v1/${shape.resource}s/${encodeURIComponent(input.arguments.id)}`;
      return send(context, 'PATCH', path, body, 'changed');
    },
  } as Command;
});

/** The flags of a schema: `idleSeconds` becomes --idle-seconds. */
export function flagsOf(schema: Schema, isInput: boolean): Flags {
  const flags: Record<string, Flag> = {};
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    // The controller fills its own defaults in, so that they have one place.
    const { default: preset, ...rest } = property;
    const text = `${property.description ?? ''}${preset === undefined ? '' : ` (default: ${String(preset)})`}`.trim();
    const isText = property.type === 'string' || property.type === 'object' || property.type === 'array';
    flags[kebab(key)] = {
      schema: rest,
      text,
      takesFile: isText,
      ...(isInput && schema.required?.includes(key) === true ? { required: true } : {}),
    };
  }
  return flags;
}

export function bodyOf(schema: Schema, values: Readonly<Record<string, Value | undefined>>): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  for (const key of Object.keys(schema.properties ?? {})) {
    const value = values[kebab(key)];
    if (value !== undefined) body[key] = value;
  }
  return body;
}

async function send(
  context: Context,
  method: 'POST' | 'PATCH',
  path: string,
  body: unknown,
  word: string,
): Promise<ExitStatus> {
  const answer = await context.connect().call<{ id?: unknown; revision?: unknown }>(method, path, { body });
  context.out.answer(answer, (one) => `${word} ${String(one.id ?? '')} at revision ${String(one.revision ?? '?')}`);
  return ExitStatus.ok;
}

function kebab(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

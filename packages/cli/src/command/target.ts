// clb target: the targets of a group, one at a time, by the same words as in a configuration file.
import { TargetInput, TargetPatch, type TargetGroup } from '@openclb/model';
import { type Context, defineCommand } from '../command.ts';
import { ExitStatus } from '../errors.ts';
import { table } from '../output.ts';

const input = TargetInput.properties;
const group = {
  name: 'group',
  schema: { type: 'string' },
  required: true,
  text: 'id of the target group, lbtg-…',
} as const;
const target = { name: 'target', schema: { type: 'string' }, required: true, text: 'id of the target, tgt-…' } as const;

export const targetAdd = defineCommand({
  name: 'target add',
  group: 'configure',
  summary: 'add a target to a group',
  arguments: [group],
  flags: {
    instance: { schema: input.instance, value: 'ID' },
    vpc: { schema: input.vpc, value: 'ID' },
    address: { schema: input.address, value: 'ADDRESS' },
    host: { schema: input.host, value: 'NODE' },
    physical: { schema: input.physical, value: 'ADDRESS' },
    encapsulation: {
      schema: { enum: ['ipip', 'none', 'l2'] },
      text: 'with --physical: how packets get there (default: ipip); l2: unchanged to its link address',
    },
    port: { schema: input.port, value: 'PORT', required: true },
    weight: {
      schema: { type: 'integer', minimum: 0, maximum: 100 },
      text: 'share of new flows; 0 drains (default: 10)',
      value: 'N',
    },
    id: { schema: input.id, value: 'ID' },
  },
  connects: true,
  examples: [
    'clb target add lbtg-web --instance ins-a2 --port 80',
    'clb target add lbtg-web --physical 192.0.2.50 --port 80 --weight 5',
  ],
  run: ({ flags, arguments: words }, context) => {
    const names = ['instance', 'vpc', 'address', 'host', 'physical', 'encapsulation', 'port', 'weight', 'id'] as const;
    const body = Object.fromEntries(
      names.filter((name) => flags[name] !== undefined).map((name) => [name, flags[name]]),
    );
    return change(context, 'POST', `/v1/target-groups/${encodeURIComponent(words.group)}/targets`, body);
  },
});

export const targetWeight = defineCommand({
  name: 'target weight',
  group: 'configure',
  summary: 'change the weight of a target; 0 drains it',
  arguments: [
    group,
    target,
    { name: 'weight', schema: TargetPatch.properties.weight, required: true, text: 'from 0 to 100' },
  ],
  flags: {},
  connects: true,
  examples: ['clb target weight lbtg-web tgt-1 0'],
  run: ({ arguments: words }, context) => change(context, 'PATCH', pathOf(words), { weight: words.weight }),
});

export const targetRemove = defineCommand({
  name: 'target remove',
  group: 'configure',
  summary: 'remove a target from a group',
  arguments: [group, target],
  flags: {},
  connects: true,
  examples: ['clb target remove lbtg-web tgt-1'],
  run: ({ arguments: words }, context) => change(context, 'DELETE', pathOf(words), undefined),
});

function pathOf(words: { group: string; target: string }): string {
  return `/v1/target-groups/${encodeURIComponent(words.group)}/targets/${encodeURIComponent(words.target)}`;
}

async function change(
  context: Context,
  method: 'POST' | 'PATCH' | 'DELETE',
  path: string,
  body: unknown,
): Promise<ExitStatus> {
  const answer = await context.connect().call<TargetGroup>(method, path, body === undefined ? {} : { body });
  context.out.answer(answer, renderTargets);
  return ExitStatus.ok;
}

function renderTargets(one: TargetGroup): string {
  if (one.targets.length === 0) return `${one.id} has no targets`;
  const rows = one.targets.map(({ id, instance, vpc, address, physical, port, weight }) => [
    id,
    instance ?? physical ?? `${address} of VPC ${vpc}`,
    port,
    weight,
  ]);
  return table(['ID', 'TARGET', 'PORT', 'WEIGHT'], rows);
}

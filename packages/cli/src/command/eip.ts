// clb eip: the life of an elastic IP address; the controller keeps its rules, this only says its words.
import { type Eip, EipBindInput, EipInput } from '@openclb/model';
import { type Context, defineCommand } from '../command.ts';
import { ExitStatus } from '../errors.ts';

const idArgument = {
  name: 'id',
  schema: { type: 'string' },
  required: true,
  text: 'id of the EIP, as in eip-…',
} as const;
const input = EipInput.properties;
const binding = EipBindInput.properties;

export const eipAllocate = defineCommand({
  name: 'eip allocate',
  group: 'configure',
  summary: 'take an elastic IP address',
  arguments: [],
  flags: {
    address: { schema: input.address, value: 'ADDRESS' },
    family: { schema: input.family },
    name: { schema: input.name, value: 'NAME' },
    id: { schema: input.id, value: 'ID' },
  },
  connects: true,
  examples: ['clb eip allocate', 'clb eip allocate --address 203.0.113.50'],
  run({ flags }, context) {
    return change(context, '/v1/eips', pick(flags, ['address', 'family', 'name', 'id']), 'allocated');
  },
});

export const eipBind = defineCommand({
  name: 'eip bind',
  group: 'configure',
  summary: 'bind an EIP to an instance, or to an address of a VPC',
  arguments: [idArgument],
  flags: {
    instance: { schema: binding.instance, value: 'ID' },
    vpc: { schema: binding.vpc, value: 'ID' },
    address: { schema: binding.address, value: 'ADDRESS' },
  },
  connects: true,
  examples: ['clb eip bind eip-1 --instance ins-a2', 'clb eip bind eip-1 --vpc 100 --address 10.0.0.3'],
  run({ flags, arguments: words }, context) {
    const body = pick(flags, ['instance', 'vpc', 'address']);
    return change(context, `/v1/eips/${encodeURIComponent(words.id)}/bind`, body, 'bound');
  },
});

export const eipUnbind = defineCommand({
  name: 'eip unbind',
  group: 'configure',
  summary: 'take an EIP off what it is bound to',
  arguments: [idArgument],
  flags: {},
  connects: true,
  examples: ['clb eip unbind eip-1'],
  run({ arguments: words }, context) {
    return change(context, `/v1/eips/${encodeURIComponent(words.id)}/unbind`, undefined, 'unbound');
  },
});

export const eipRelease = defineCommand({
  name: 'eip release',
  group: 'configure',
  summary: 'give an unbound EIP back',
  arguments: [idArgument],
  flags: {},
  connects: true,
  examples: ['clb eip release eip-1'],
  async run({ arguments: words }, context) {
    const answer = await context.connect().call<unknown>('DELETE', `/v1/eips/${encodeURIComponent(words.id)}`);
    context.out.answer(answer ?? { released: words.id }, () => `released ${words.id}`);
    return ExitStatus.ok;
  },
});

async function change(context: Context, path: string, body: unknown, word: string): Promise<ExitStatus> {
  const answer = await context.connect().call<Eip>('POST', path, body === undefined ? {} : { body });
  context.out.answer(answer, (eip) => `${word} ${eip.id} ${eip.address} ${eip.state}`);
  return ExitStatus.ok;
}

/** The flags that were given, as the fields of a body. */
function pick<F extends object>(flags: F, names: readonly (keyof F & string)[]): Record<string, unknown> {
  return Object.fromEntries(names.filter((name) => flags[name] !== undefined).map((name) => [name, flags[name]]));
}

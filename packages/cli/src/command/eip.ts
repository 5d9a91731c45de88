// clb eip: the life of an elastic IP address; the controller keeps its rules, this only says its words.
import { defineCommand } from '../command.ts';
import { ExitStatus } from '../errors.ts';
import type { Context } from '../command.ts';

const idArgument = {
  name: 'id',
  schema: { type: 'string' },
  required: true,
  text: 'id of the EIP, as in eip-…',
} as const;

interface Eip {
  readonly id: string;
  readonly address: string;
  readonly state: string;
}

async function change(context: Context, path: string, body: unknown, word: string): Promise<ExitStatus> {
  const answer = await context.connect().call<Eip | null>('POST', path, { body });
  context.out.answer(answer, (eip) =>
    eip === null ? word : `${word} ${eip.id} ${eip.address ?? ''} ${eip.state ?? ''}`.trimEnd(),
  );
  return ExitStatus.ok;
}

export const eipAllocate = defineCommand({
  name: 'eip allocate',
  group: 'configure',
  summary: 'take an elastic IP address',
  arguments: [],
  flags: {
    address: {
      schema: { type: 'string', description: 'this address; otherwise a free one of the pool' },
      value: 'ADDRESS',
    },
    id: {
      schema: { type: 'string', description: 'id of the new EIP; otherwise the controller names it' },
      value: 'ID',
    },
  },
  connects: true,
  examples: ['clb eip allocate', 'clb eip allocate --address 203.0.113.50'],
  run({ flags }, context) {
    const body = {
      ...(flags.address === undefined ? {} : { address: flags.address }),
      ...(flags.id === undefined ? {} : { id: flags.id }),
    };
    return change(context, '/v1/eips', body, 'allocated');
  },
});

export const eipBind = defineCommand({
  name: 'eip bind',
  group: 'configure',
  summary: 'bind an EIP to an instance',
  arguments: [idArgument],
  flags: {
    instance: { schema: { type: 'string', description: 'id of the instance' }, value: 'ID', required: true },
    address: {
      schema: { type: 'string', description: 'its private address; its first one otherwise' },
      value: 'ADDRESS',
    },
  },
  connects: true,
  examples: ['clb eip bind eip-1 --instance vm-a2'],
  run({ flags, arguments: words }, context) {
    const body = { instance: flags.instance, ...(flags.address === undefined ? {} : { address: flags.address }) };
    return change(context, `/v1/eips/${encodeURIComponent(words.id)}/bind`, body, 'bound');
  },
});

export const eipUnbind = defineCommand({
  name: 'eip unbind',
  group: 'configure',
  summary: 'take an EIP off its instance',
  arguments: [idArgument],
  flags: {},
  connects: true,
  examples: ['clb eip unbind eip-1'],
  run: ({ arguments: words }, context) =>
    change(context, `/v1/eips/${encodeURIComponent(words.id)}/unbind`, {}, 'unbound'),
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

// clb get and clb delete: read and remove resources by their words.
import { defineCommand } from '../command.ts';
import { ExitStatus, usageError } from '../errors.ts';
import { table } from '../output.ts';
import { itemsOf, resourceOf, resources, type Resource } from '../resources.ts';

const resourceText = `one of ${resources.map((resource) => resource.name).join(', ')} (singular and short forms too)`;

export const get = defineCommand({
  name: 'get',
  group: 'look into',
  summary: 'list resources, or show one',
  arguments: [
    { name: 'resource', schema: { type: 'string' }, required: true, text: resourceText },
    { name: 'id', schema: { type: 'string' }, text: 'id of one of them' },
  ],
  flags: {
    of: {
      schema: { type: 'string', description: 'only those of this load balancer (listeners) or listener (rules)' },
      value: 'ID',
    },
  },
  connects: true,
  examples: ['clb get load-balancers', 'clb get listeners --of lb-web', 'clb get listener lbl-http --json'],
  async run({ flags, arguments: words }, context) {
    const resource = resourceOf(words.resource);
    const client = context.connect();
    if (words.id !== undefined) {
      const one = await client.call<Record<string, unknown>>(
        'GET',
        `/v1/${resource.name}/${encodeURIComponent(words.id)}`,
      );
      context.out.answer(one, renderOne);
      return ExitStatus.ok;
    }
    if (flags.of !== undefined && resource.filter === undefined) {
      throw usageError(`${resource.name} belong to nothing that --of could name`, 'only listeners and rules take --of');
    }
    const query = resource.filter === undefined ? {} : { [resource.filter]: flags.of };
    const answer = await client.call<unknown>('GET', `/v1/${resource.name}`, { query });
    context.out.answer(answer, (value) => renderList(resource, itemsOf(value)));
    return ExitStatus.ok;
  },
});

export const remove = defineCommand({
  name: 'delete',
  group: 'configure',
  summary: 'delete a resource',
  arguments: [
    { name: 'resource', schema: { type: 'string' }, required: true, text: resourceText },
    { name: 'id', schema: { type: 'string' }, required: true, text: 'id of the resource' },
  ],
  flags: {},
  connects: true,
  examples: ['clb delete listener lbl-http'],
  async run({ arguments: words }, context) {
    const resource = resourceOf(words.resource);
    const answer = await context
      .connect()
      .call<unknown>('DELETE', `/v1/${resource.name}/${encodeURIComponent(words.id)}`);
    context.out.answer(answer ?? { deleted: words.id }, () => `deleted ${words.id}`);
    return ExitStatus.ok;
  },
});

export function renderList(resource: Resource, items: readonly Record<string, unknown>[]): string {
  if (items.length === 0) return `no ${resource.name}`;
  // A column that nobody fills says nothing.
  const columns = resource.columns.filter(
    (column) => column === 'id' || items.some((item) => item[column] !== undefined),
  );
  return table(
    columns.map((column) => column.replaceAll(/[A-Z]/g, ' $&').toUpperCase()),
    items.map((item) => columns.map((column) => summarize(item[column]))),
  );
}

function summarize(value: unknown): unknown {
  if (!Array.isArray(value) || value.every((one) => typeof one !== 'object')) return value;
  return value
    .map((one: Record<string, unknown>) => {
      const name = one.address ?? one.v4 ?? one.instance ?? one.physical ?? one.id;
      return one.port === undefined ? name : `${String(name)}:${String(one.port)}`;
    })
    .join(',');
}

function renderOne(one: Record<string, unknown>): string {
  const width = Math.max(...Object.keys(one).map((key) => key.length));
  return Object.entries(one)
    .map(([key, value]) => `${key.padEnd(width)}  ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
    .join('\n');
}

// clb shadow: a candidate file decides on live traffic beside the active configuration, and the differences are told.
import type { ShadowReport } from '@openclb/model';
import { defineCommand } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import { ExitStatus, usageError } from '../errors.ts';

export const shadow = defineCommand({
  name: 'shadow',
  group: 'look into',
  summary: 'compare a candidate file with the active configuration on live traffic',
  text: [
    'start lets the file decide on every request beside the active configuration, without sending anything; report counts',
    'what it would have decided otherwise, with examples; stop ends it. Nothing is stored, and targets hear nothing of it.',
  ].join('\n'),
  arguments: [
    { name: 'action', schema: { enum: ['start', 'report', 'stop'] }, required: true, text: 'start, report or stop' },
  ],
  flags: {
    file: { schema: { type: 'string', description: 'candidate: as for clb apply' }, value: 'FILE', short: 'f' },
  },
  connects: true,
  examples: ['clb shadow start -f next.yaml', 'clb shadow report', 'clb shadow stop'],
  async run({ flags, arguments: { action } }, context) {
    const client = context.connect();
    if (action === 'start' && flags.file === undefined)
      throw usageError('clb shadow start needs --file', 'add -f FILE');
    const report =
      action === 'start'
        ? await client.call<ShadowReport>('PUT', '/v1/shadow', { body: (await loadConfig(flags.file!)).config })
        : await client.call<ShadowReport>(action === 'stop' ? 'DELETE' : 'GET', '/v1/shadow');
    context.out.answer(report, render);
    return report.nodes.some(({ error }) => error !== undefined) ? ExitStatus.failed : ExitStatus.ok;
  },
});

function render({ nodes }: ShadowReport): string {
  const lines: string[] = [];
  for (const { node, report, error } of nodes) {
    if (report === null) {
      lines.push(`${node}: ${error ?? 'no candidate decides here'}`);
      continue;
    }
    const counts = Object.entries(report.differences).map(([kind, count]) => `${count} ${kind}`);
    lines.push(
      `${node}: ${report.compared} requests compared, ${counts.length === 0 ? 'no difference' : counts.join(', ')}`,
    );
    for (const { request, active, candidate } of report.examples) {
      // What a client wrote reaches a terminal here: control characters must not.
      // oxlint-disable-next-line no-control-regex
      const shown = request.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, '?');
      lines.push(`  ${shown}`, `    active:    ${active}`, `    candidate: ${candidate}`);
    }
  }
  return lines.join('\n');
}

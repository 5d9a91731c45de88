// clb capture: packets of a running director with their verdicts, as a pcapng file that Wireshark and tshark read.
import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import type { LookAnswer, LookFrame } from '@openclb/model';
import type { Client } from '../client.ts';
import { type Context, defineCommand } from '../command.ts';
import { ExitStatus, usageError } from '../errors.ts';
import { directors, filterFlags, nodeFlag } from './ld.ts';

const POLL_MS = 200;

export const capture = defineCommand({
  name: 'capture',
  group: 'look into',
  summary: 'write packets of a director to a file, each with its verdict and why',
  text: [
    'The file is pcapng. A packet is in it as it came and, when it was forwarded, as it left; the packet comment of both says',
    'verdict, reason, listener, target, flow and tunnel. The director samples when more packets match than it can copy without',
    'being late, and the last line says how many it left out. Ends after --count packets, after --seconds, or with Ctrl-C.',
  ].join('\n'),
  arguments: [],
  flags: {
    node: { ...nodeFlag.node, text: 'the director; needed when there are several' },
    ...filterFlags,
    verdict: { schema: { enum: ['forward', 'drop', 'punt', 'consumed', 'held'] }, text: 'only this verdict' },
    reason: { schema: { type: 'string', description: 'only this reason, such as NoListener' }, value: 'REASON' },
    count: {
      schema: { type: 'integer', minimum: 1, maximum: 1_000_000, description: 'end after so many frames' },
      value: 'N',
    },
    seconds: {
      schema: { type: 'integer', minimum: 1, maximum: 86_400, description: 'end after so many seconds' },
      value: 'N',
    },
    write: { schema: { type: 'string', description: 'file to write' }, short: 'w', value: 'FILE', required: true },
  },
  connects: true,
  examples: [
    'clb capture --node ld1 --vip 203.0.113.10:80 --count 100 -w web.pcapng',
    'clb capture --node ld1 --verdict drop --seconds 10 -w drops.pcapng',
  ],
  async run({ flags }, context) {
    const { client: from, vip, target, protocol, verdict, reason, count = Infinity, seconds = Infinity } = flags;
    const client = context.connect();
    const nodes = await directors(client, flags.node);
    const [node = ''] = nodes;
    if (nodes.length > 1) throw usageError('there are several directors', `name one: --node ${nodes.join(' or ')}`);
    const frames = read(
      client,
      node,
      { client: from, vip, target, protocol, verdict, reason },
      context,
      seconds * 1000,
    );
    const { written, missed } = await write(flags.write, frames, count);
    context.out.answer({ node, file: flags.write, frames: written, missed }, (one) =>
      [
        `${one.frames} frames of ${one.node} in ${one.file}`,
        ...(missed === 0 ? [] : [`${missed} packets were left out`]),
      ].join('; '),
    );
    return ExitStatus.ok;
  },
});

type Page = { readonly frames: readonly LookFrame[]; readonly missed: number };

async function* read(
  client: Client,
  node: string,
  filter: Record<string, string | undefined>,
  context: Context,
  ms: number,
): AsyncGenerator<Page> {
  const session = randomUUID();
  const end = performance.now() + ms;
  let cursor: number | undefined;
  while (!context.signal.aborted) {
    const body = { node, what: 'capture', session, filter, cursor };
    const answer: LookAnswer = await client.call<LookAnswer>('POST', '/v1/look', { body });
    // Whoever sends the packets may wait for this line.
    if (cursor === undefined) context.out.warn(`capturing on ${node}`);
    cursor = answer.next ?? undefined;
    yield { frames: answer.rows as unknown as LookFrame[], missed: answer.missed ?? 0 };
    if (performance.now() >= end) return;
    if (answer.rows.length > 0) continue;
    await wait(Math.min(POLL_MS, Math.max(0, end - performance.now())), undefined, { signal: context.signal }).catch(
      () => undefined,
    );
  }
}

async function write(
  path: string,
  pages: AsyncGenerator<Page>,
  count: number,
): Promise<{ written: number; missed: number }> {
  const { createPcapWriter, LinkType } = await import('@openclb/l4');
  let writer: ReturnType<typeof createPcapWriter> | undefined;
  let written = 0;
  let missed = 0;
  for await (const page of pages) {
    missed += page.missed;
    for (const { frame, device, at, ethernet, comment, direction } of page.frames) {
      if (written >= count) break;
      writer ??= createPcapWriter(path, ethernet ? LinkType.Ethernet : LinkType.RawIp);
      writer.write(device, Buffer.from(frame, 'base64'), BigInt(at), { comments: [comment], direction });
      written++;
    }
    writer?.flush();
    if (written >= count) break;
  }
  (writer ?? createPcapWriter(path)).close();
  return { written, missed };
}

// clb explain: the whole decision about one packet, as a director took or would take it, readable from top to bottom.
import type { ExplainAnswer } from '@openclb/model';
import { isIP } from 'node:net';
import { defineCommand } from '../command.ts';
import { ExitStatus, usageError } from '../errors.ts';

export const explain = defineCommand({
  name: 'explain',
  group: 'look into',
  summary: 'tell what happens to a packet, and why',
  text: [
    'A director walks the packet through its live tables without sending it or changing a flow, and says for each step',
    'what it saw: listener, flow hit or miss, scheduler slot, target, rewrite and tunnel. Write an IPv6 address with a',
    'port as [2001:db8::1]:80. icmp takes addresses without ports.',
  ].join('\n'),
  arguments: [
    { name: 'protocol', schema: { enum: ['tcp', 'udp', 'icmp'] }, required: true, text: 'protocol of the packet' },
    { name: 'source', schema: { type: 'string' }, required: true, text: 'address:port of the client' },
    { name: 'destination', schema: { type: 'string' }, required: true, text: 'address:port of the VIP' },
  ],
  flags: {
    node: { schema: { type: 'string', description: 'director to ask; the first live one otherwise' }, value: 'ID' },
    flags: {
      schema: { enum: ['syn', 'ack'] },
      text: 'TCP: a SYN (default), or a packet of an established connection',
    },
  },
  connects: true,
  examples: [
    'clb explain tcp 198.51.100.10:40000 203.0.113.10:80',
    'clb explain udp 198.51.100.10:5353 203.0.113.10:53 --node ld1',
  ],
  async run({ flags, arguments: words }, context) {
    const source = parseEndpoint(words.source, words.protocol);
    const destination = parseEndpoint(words.destination, words.protocol);
    const body = {
      protocol: words.protocol,
      source: source.address,
      sourcePort: source.port,
      destination: destination.address,
      destinationPort: destination.port,
      ...(flags.flags === undefined ? {} : { flags: flags.flags }),
      ...(flags.node === undefined ? {} : { node: flags.node }),
    };
    const answer = await context.connect().call<ExplainAnswer>('POST', '/v1/explain', { body });
    context.out.answer(answer, (one) =>
      renderExplanation(one, `${words.protocol} ${words.source} -> ${words.destination}`),
    );
    return ExitStatus.ok;
  },
});

/** Reads `a.b.c.d:port`, `[v6]:port`, and for icmp an address alone. */
export function parseEndpoint(text: string, protocol: string): { address: string; port: number } {
  const match = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text) ??
    /^([^:]+)(?::(\d{1,5}))?$/.exec(text) ?? [text, text, undefined];
  const address = match[1] ?? '';
  const port = match[2] === undefined ? undefined : Number(match[2]);
  if (isIP(address) === 0) {
    const hint =
      isIP(text.replace(/:\d+$/, '')) === 6 ? 'write it as [2001:db8::1]:80' : 'write it as 198.51.100.10:40000';
    throw usageError(`'${text}' has no IP address`, hint);
  }
  if (protocol === 'icmp') return { address, port: port ?? 0 };
  if (port === undefined || port > 65_535)
    throw usageError(`'${text}' has no port from 0 to 65535`, `write it as ${address}:80`);
  return { address, port };
}

/** The walk as lines: a step, and what it saw and decided. The facts behind each are in --json. */
export function renderExplanation(answer: ExplainAnswer, title: string): string {
  const { generation } = answer;
  const width = Math.max(0, ...answer.steps.map((step) => step.step.length));
  const lines = [`${title} on ${answer.node} (generation ${generation.revision}.${generation.compiler})`, ''];
  for (const [index, step] of answer.steps.entries()) {
    lines.push(`${String(index + 1).padStart(3)}. ${step.step.padEnd(width)}  ${step.text}`);
  }
  const isForward = answer.verdict.toLowerCase() === 'forward';
  const reason = answer.reason === '' || answer.reason.toLowerCase() === 'none' ? '' : `: ${answer.reason}`;
  lines.push('', `verdict: ${answer.verdict}${isForward && reason === '' ? '' : reason}`);
  return lines.join('\n');
}

// clb explain: the whole decision about one packet, as a director took or would take it, readable from top to bottom.
import type { ExplainAnswer } from '@openclb/model';
import { isIP } from 'node:net';
import { type Context, defineCommand } from '../command.ts';
import { ExitStatus, usageError } from '../errors.ts';

export const explain = defineCommand({
  name: 'explain',
  group: 'look into',
  summary: 'tell what happens to a packet or to a request, and why',
  text: [
    'A director walks the packet through its live tables without sending it or changing a flow, and says for each step',
    'what it saw: listener, flow hit or miss, scheduler slot, target, rewrite and tunnel. Write an IPv6 address with a',
    'port as [2001:db8::1]:80. icmp takes addresses without ports.',
    '',
    'With --request a proxy walks an HTTP request: listener, domain, rule, conditions, policy, target and what is rewritten.',
  ].join('\n'),
  arguments: [
    { name: 'protocol', schema: { enum: ['tcp', 'udp', 'icmp'] }, text: 'protocol of the packet' },
    { name: 'source', schema: { type: 'string' }, text: 'address:port of the client' },
    { name: 'destination', schema: { type: 'string' }, text: 'address:port of the VIP' },
  ],
  flags: {
    node: { schema: { type: 'string', description: 'node to ask; the first live one otherwise' }, value: 'ID' },
    request: {
      schema: { type: 'string', description: "a request instead of a packet: 'GET https://a.test/x'" },
      value: 'METHOD URL',
    },
    header: {
      schema: { type: 'string', description: 'header fields of the request, a line each' },
      value: 'NAME: VALUE',
    },
    client: {
      schema: { type: 'string', description: 'client address of the request; 192.0.2.1 otherwise' },
      value: 'IP',
    },
    vip: {
      schema: { type: 'string', description: 'VIP that the request calls; any that listens there otherwise' },
      value: 'IP',
    },
    flags: {
      schema: { enum: ['syn', 'ack'] },
      text: 'TCP: a SYN (default), or a packet of an established connection',
    },
  },
  connects: true,
  examples: [
    'clb explain tcp 198.51.100.10:40000 203.0.113.10:80',
    'clb explain udp 198.51.100.10:5353 203.0.113.10:53 --node ld1',
    "clb explain --request 'GET https://a.test/x' --header 'Cookie: user=7'",
  ],
  async run({ flags, arguments: words }, context) {
    if (flags.request !== undefined) return explainHttp(flags.request, flags, context);
    if (words.protocol === undefined || words.source === undefined || words.destination === undefined) {
      throw usageError('clb explain needs <protocol> <source> <destination>, or --request', 'see: clb help explain');
    }
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

interface RequestFlags {
  readonly header?: string | undefined;
  readonly client?: string | undefined;
  readonly vip?: string | undefined;
  readonly node?: string | undefined;
}

async function explainHttp(text: string, flags: RequestFlags, context: Context): Promise<ExitStatus> {
  const match = /^([A-Z][A-Z-]*) +(https?:\/\/[^ ]+)$/.exec(text.trim());
  if (match === null) throw usageError(`'${text}' is no request`, "write it as 'GET https://a.test/x'");
  const lines = (flags.header ?? '').split('\n').filter((line) => line.trim() !== '');
  const headers = lines.map((line) => {
    const colon = line.indexOf(':');
    if (colon <= 0) throw usageError(`'${line}' is no header field`, "write it as 'Cookie: user=7'");
    return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
  });
  const body = {
    method: match[1],
    url: match[2],
    ...(headers.length === 0 ? {} : { headers }),
    ...(flags.client === undefined ? {} : { client: flags.client }),
    ...(flags.vip === undefined ? {} : { vip: flags.vip }),
    ...(flags.node === undefined ? {} : { node: flags.node }),
  };
  const answer = await context.connect().call<ExplainAnswer>('POST', '/v1/explain/request', { body });
  context.out.answer(answer, (one) => renderExplanation(one, text));
  return ExitStatus.ok;
}

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

// Edits of header fields (E4 add_header, proxy_set_header; E5) while heads are rewritten: which fields go, change or come.
import type { Head } from '../codec/h1.ts';
import type { Exchange } from '../state.ts';
import type { CompiledEdits } from './compile.ts';
import { Encoder, type EncoderEvents } from './compress.ts';
import { addedLines } from './custom.ts';
import { isNamed } from './view.ts';

/** Edits of one message: `replace` says what becomes of a field: null as it is, empty gone, else its new line. */
export interface MessageEdit {
  readonly replace: (head: Head, at: number) => string | null;
  /** The same by name, for heads that filters have seen. */
  readonly replaceNamed: (name: string, value: string) => string | null;
  /** Whole lines that come at the end. */
  readonly added: string;
}

export function editRequest(exchange: Exchange): MessageEdit | null {
  const policy = exchange.rule?.policy ?? null;
  if (policy === null) return null;
  const sticky = policy.sticky?.type === 'rewrite' ? policy.sticky : null;
  if (policy.requestEdits === null && sticky === null) return null;
  const drops = policy.requestEdits?.drops ?? NONE;
  return messageEdit(drops, linesOf(policy.requestEdits, exchange), sticky === null ? NONE : COOKIE, (name, value) => {
    const own = sticky!.unmark(value);
    return own === null ? null : `${name}: ${own}\r\n`;
  });
}

const NONE: ReadonlySet<string> = new Set();
const COOKIE: ReadonlySet<string> = new Set(['cookie']);

/** Called once the final response head is framed; also chooses the coding. */
export function editResponse(exchange: Exchange, head: Head, events: EncoderEvents): void {
  const { proxy, rule, member } = exchange;
  const policy = rule!.policy!;
  const drops = new Set(policy.responseEdits?.drops);
  const changed = new Set<string>();
  let added = linesOf(policy.responseEdits, exchange);
  const { custom } = policy;
  if (custom !== null) {
    added += addedLines(custom, exchange, head.status);
    if (custom.server !== null) {
      drops.add('server');
      added += `Server: ${custom.server}\r\n`;
    }
    if (custom.redirectsToHttps) changed.add('location');
  }
  const { compressor, sticky } = policy;
  if (sticky?.type === 'insert' && member !== null) added += sticky.line(member, rule!.group, proxy.stickyKey);
  if (sticky?.type === 'rewrite') changed.add('set-cookie');
  if (compressor !== null && exchange.filtered === null && compressor.suits(head)) {
    added += 'Vary: Accept-Encoding\r\n';
    const coding = exchange.minor === 1 ? compressor.choose(exchange.acceptedCodings) : null;
    if (coding !== null && !exchange.responseBody.isDone) {
      const hasLength = head.contentLength >= 0;
      exchange.encoder = new Encoder(coding, !hasLength, events);
      exchange.responseBody.isDecoding = true;
      exchange.encodesChunks = true;
      for (const name of ['content-length', 'accept-ranges', 'content-md5', 'digest', 'trailer']) drops.add(name);
      changed.add('etag');
      added += `Content-Encoding: ${coding}\r\n`;
    }
  }
  exchange.responseEdit = messageEdit(drops, added, changed, (name, value) => {
    // What is compressed is no longer the same bytes (RFC 9110 8.8.1).
    if (name.toLowerCase() === 'etag') return value.startsWith('W/') ? null : `${name}: W/${value}\r\n`;
    if (name.toLowerCase() === 'location') {
      return value.startsWith('http://') ? `${name}: https://${value.slice(7)}\r\n` : null;
    }
    const marked = member === null ? null : sticky!.mark(value, member, rule!.group, proxy.stickyKey);
    return marked === null ? null : `${name}: ${marked}\r\n`;
  });
}

function linesOf(edits: CompiledEdits | null, exchange: Exchange): string {
  let text = '';
  for (const { name, value } of edits?.adds ?? []) text += `${name}: ${value.render(exchange)}\r\n`;
  return text;
}

function messageEdit(
  drops: ReadonlySet<string>,
  added: string,
  changed: ReadonlySet<string>,
  change: (name: string, value: string) => string | null,
): MessageEdit {
  return {
    added,
    replace(head, at) {
      for (const name of drops) if (isNamed(head, at, name)) return '';
      for (const name of changed) if (isNamed(head, at, name)) return change(head.name(at), head.value(at));
      return null;
    },
    replaceNamed(name, value) {
      const folded = name.toLowerCase();
      if (drops.has(folded)) return '';
      return changed.has(folded) ? change(name, value) : null;
    },
  };
}

// Texts with variables ($host, $uri, $1), parsed once when an image is applied. Names are nginx's (tencent-cloud.md E4, E6).
import type { PolicyVariable } from '@openclb/model';
import { requestIdOf } from '../log/record.ts';
import { normalHost } from '../routes.ts';
import type { Exchange } from '../state.ts';

type Part = string | number | ((exchange: Exchange) => string);

const pathOf = ({ target }: Exchange): string => {
  const mark = target.indexOf('?');
  return mark < 0 ? target : target.slice(0, mark);
};
const bracketed = (address: string): string => (address.includes(':') ? `[${address}]` : address);
/** A node of RFC 7239: IPv6 stands in quotes and brackets. */
const node = (address: string): string => (address.includes(':') ? `"[${address}]"` : address);

const hostOf = (exchange: Exchange): string => {
  const name = normalHost(exchange.host);
  return name === '' ? bracketed(exchange.downstream.vip) : name;
};

const VARIABLES: Readonly<Record<PolicyVariable, (exchange: Exchange) => string>> = {
  scheme: ({ downstream }) => downstream.scheme,
  host: hostOf,
  http_host: (exchange) => (exchange.host === '' ? hostOf(exchange) : exchange.host),
  uri: pathOf,
  request_uri: ({ target }) => target,
  args: ({ target }) => {
    const mark = target.indexOf('?');
    return mark < 0 ? '' : target.slice(mark + 1);
  },
  request_method: ({ method }) => method,
  remote_addr: ({ downstream }) => downstream.clientAddress,
  remote_port: ({ downstream }) => String(downstream.clientPort),
  server_addr: ({ downstream }) => downstream.vip,
  server_port: ({ downstream }) => String(downstream.vport),
  vport: ({ downstream }) => String(downstream.vport),
  stgw_request_id: requestIdOf,
  forwarded_for: ({ downstream }) => node(downstream.clientAddress),
  forwarded_by: ({ downstream }) => node(downstream.vip),
};

/** One text with its variables. */
export class Template {
  readonly #parts: readonly Part[];

  constructor(text: string) {
    const parts: Part[] = [];
    let from = 0;
    for (const match of text.matchAll(/\$(?:([1-9])|([a-z_]+))/g)) {
      const [whole, digit, name] = match;
      const part = digit === undefined ? VARIABLES[name as PolicyVariable] : Number(digit);
      if (part === undefined) throw new RangeError(`the variable $${name} is not known`);
      if (match.index > from) parts.push(text.slice(from, match.index));
      parts.push(part);
      from = match.index + whole.length;
    }
    if (from < text.length) parts.push(text.slice(from));
    this.#parts = parts;
  }

  render(exchange: Exchange, captures: readonly (string | undefined)[] | null = null): string {
    let text = '';
    for (const part of this.#parts) {
      if (typeof part === 'string') text += part;
      else text += typeof part === 'number' ? (captures?.[part] ?? '') : part(exchange);
    }
    return text;
  }
}

/** What a normalised path captured may hold any byte: as part of a line or a URL it is encoded again. */
export function encodeCaptures(match: RegExpExecArray | null): string[] | null {
  if (match === null) return null;
  return match.map((text) =>
    (text ?? '').replaceAll(
      /[^!$&'()*+,\-./0-9:;=@A-Z_a-z~]/g,
      (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
    ),
  );
}

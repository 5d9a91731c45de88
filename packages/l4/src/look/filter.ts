// What an operator wants to see of flows: client as address or CIDR, VIP and target with or without a port, state, protocol.
import { parseAddress, isMapped } from '@openclb/core-wasm';
import { type LookFilter } from '@openclb/model';

export interface FlowMatch {
  /** `at`: 16 bytes of an address in the view. */
  client(view: DataView, at: number): boolean;
  vip(address: string, port: number): boolean;
  target(address: string, port: number): boolean;
  state(name: string): boolean;
  protocol(name: string): boolean;
}

/** Throws a RangeError that names the part which is no address. */
export function flowMatch(filter: LookFilter): FlowMatch {
  const { state, protocol } = filter;
  return {
    client: prefixMatch(filter.client),
    vip: endpointMatch(filter.vip),
    target: endpointMatch(filter.target),
    state: (name) => state === undefined || name.toLowerCase() === state.toLowerCase(),
    protocol: (name) => protocol === undefined || name === protocol,
  };
}

/** Of 16 bytes in a view: whether they lie in the CIDR, or are the address. Everything does without one. */
export function prefixMatch(text: string | undefined): FlowMatch['client'] {
  if (text === undefined) return () => true;
  const [address = '', length] = text.split('/');
  const wanted = parseAddress(address);
  const whole = isMapped(wanted) ? 32 : 128;
  const bits = length === undefined ? whole : Number(length);
  if (!Number.isInteger(bits) || bits < 0 || bits > whole || length === '')
    throw new RangeError(`"${text}" is not a CIDR: its length is 0 to ${whole}`);
  return prefixOf(wanted, bits + 128 - whole);
}

function prefixOf(wanted: Uint8Array, bits: number): FlowMatch['client'] {
  const masks = wanted.map((_, index) => (0xff00 >> Math.min(8, Math.max(0, bits - index * 8))) & 0xff);
  return (view, at) => {
    for (let index = 0; index < 16 && masks[index] !== 0; index++) {
      if (((view.getUint8(at + index) ^ (wanted[index] ?? 0)) & (masks[index] ?? 0)) !== 0) return false;
    }
    return true;
  };
}

/** `a.b.c.d`, `a.b.c.d:80`, `2001:db8::1`, `[2001:db8::1]:80`. */
export function endpointMatch(text: string | undefined): (address: string, port: number) => boolean {
  if (text === undefined) return () => true;
  const wanted = parseEndpoint(text);
  const key = parseAddress(wanted.address).join('.');
  return (address, port) => isPort(wanted, port) && parseAddress(address).join('.') === key;
}

/** The same of 16 bytes in a view. */
export function endpointAt(text: string | undefined): (view: DataView, at: number, port: number) => boolean {
  if (text === undefined) return () => true;
  const wanted = parseEndpoint(text);
  const address = prefixMatch(wanted.address);
  return (view, at, port) => isPort(wanted, port) && address(view, at);
}

interface Wanted {
  readonly address: string;
  readonly port: number | undefined;
}

function parseEndpoint(text: string): Wanted {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+|[^[]*:[^[]*:[^[]*?))(?::(\d{1,5}))?$/.exec(text) ?? [];
  return { address: bracketed ?? plain ?? text, port: port === undefined ? undefined : Number(port) };
}

function isPort({ port }: Wanted, found: number): boolean {
  return port === undefined || port === found;
}

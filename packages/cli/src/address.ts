// host:port as people write it.
import { isIP } from 'node:net';
import { usageError } from './errors.ts';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Reads `127.0.0.1:7000`, `[::1]:7000` and `localhost:7000`; `label` names the flag in errors. */
export function parseHostPort(text: string, label: string): HostPort {
  const match = /^\[([^\]]+)\]:(\d{1,5})$/.exec(text) ?? /^([^:[\]\s]+):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? '';
  const port = Number(match?.[2] ?? Number.NaN);
  if (host === '' || !(port <= 65_535)) {
    const hint = isIP(text) === 6 ? `write it as [${text}]:7000` : 'write it as 127.0.0.1:7000';
    throw usageError(`${label}: '${text}' is not an address with a port`, hint);
  }
  return { host, port };
}

export function formatHostPort({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

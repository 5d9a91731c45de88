// Log lines to a file, to standard output or to syslog: kept back and handed over in batches, so that a request pays for a string
// and nothing else. What waits is bounded; what is thrown away is counted.
import dgram from 'node:dgram';
import { closeSync, openSync, statSync, write } from 'node:fs';
import net from 'node:net';
import { hostname } from 'node:os';
import type { ConnectionRecord } from '../relay/context.ts';
import { connectionLine, formatOf, healthLine, type LineOf } from './format.ts';
import type { AccessRecord, HealthRecord } from './record.ts';

const BATCH_BYTES = 64 * 1024;
const BACKLOG_BYTES_MAX = 8 * 1024 * 1024;
const FLUSH_MS = 1000;
const STDOUT = 1;

export interface LogWriter {
  readonly write: (record: AccessRecord) => void;
  readonly health: (record: HealthRecord) => void;
  readonly connection: (record: ConnectionRecord) => void;
  /** Lines that were thrown away because the other side did not keep up. */
  readonly lost: () => number;
  /** Opens the file again under its name: what a rotation has renamed is left to it. */
  readonly reopen: () => void;
  close(): Promise<void>;
}

export interface LogWriterOptions {
  /** A file that is appended to; `-` is standard output. */
  readonly path: string;
  /** `combined` (the default), `json`, or a text with variables: `$remote_addr "$request" $status`. */
  readonly format?: string;
  readonly flushMs?: number;
}

export function createLogWriter({ path, format = 'combined', flushMs = FLUSH_MS }: LogWriterOptions): LogWriter {
  return new FileWriter(path, formatOf(format), flushMs);
}

class FileWriter implements LogWriter {
  readonly #path: string;
  readonly #lineOf: LineOf;
  readonly #timer: NodeJS.Timeout;
  #descriptor: number;
  #inode = 0;
  #wantsReopen = false;
  #pending = '';
  #inFlight = 0;
  #lost = 0;
  #onIdle: (() => void) | null = null;

  constructor(path: string, lineOf: LineOf, flushMs: number) {
    this.#path = path;
    this.#lineOf = lineOf;
    this.#descriptor = this.#open();
    this.#timer = setInterval(() => this.#tick(), flushMs);
    this.#timer.unref();
  }

  readonly write = (record: AccessRecord): void => this.#add(this.#lineOf(record));
  readonly health = (record: HealthRecord): void => this.#add(healthLine(record));
  readonly connection = (record: ConnectionRecord): void => this.#add(connectionLine(record));
  readonly lost = (): number => this.#lost;
  readonly reopen = (): void => void (this.#wantsReopen = true);

  #add(line: string): void {
    if (this.#pending.length > BACKLOG_BYTES_MAX) {
      this.#lost++;
      return;
    }
    this.#pending += line;
    if (this.#pending.length >= BATCH_BYTES) this.#flush();
  }

  #open(): number {
    if (this.#path === '-') return STDOUT;
    const descriptor = openSync(this.#path, 'a');
    this.#inode = statSync(this.#path).ino;
    return descriptor;
  }

  #tick(): void {
    if (this.#path !== '-' && this.#inFlight === 0 && (this.#wantsReopen || this.#isRenamed())) this.#change();
    this.#flush();
  }

  /** Rotation by rename needs no signal: the name leads to another file, or to none. */
  #isRenamed(): boolean {
    return statSync(this.#path, { throwIfNoEntry: false })?.ino !== this.#inode;
  }

  #change(): void {
    this.#wantsReopen = false;
    try {
      const before = this.#descriptor;
      this.#descriptor = this.#open();
      closeSync(before);
    } catch {
      // The folder is gone for now: the old file goes on taking lines, and the next tick tries again.
    }
  }

  #flush(): void {
    if (this.#pending === '' || this.#inFlight > 0) return;
    const batch = Buffer.from(this.#pending);
    this.#pending = '';
    this.#inFlight = batch.length;
    const next = (from: number): void =>
      write(this.#descriptor, batch, from, batch.length - from, null, (error, written) => {
        if (error === null && from + written < batch.length) return next(from + written);
        // A full disk loses this batch; how many lines is seen by counting them.
        if (error !== null) this.#lost += batch.subarray(from).filter((byte) => byte === 0x0a).length;
        this.#inFlight = 0;
        if (this.#pending.length >= BATCH_BYTES || (this.#onIdle !== null && this.#pending !== '')) this.#flush();
        else this.#onIdle?.();
      });
    next(0);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onIdle = resolve;
    this.#flush();
    if (this.#inFlight > 0) await promise;
    if (this.#descriptor !== STDOUT) closeSync(this.#descriptor);
  }
}

export interface SyslogOptions {
  /** `host:port` by UDP, or the path of a stream socket on this machine. */
  readonly to: string;
  readonly format?: string;
  readonly flushMs?: number;
}

/** Facility local7, severity informational (RFC 5424 6.2.1). */
const PRIORITY = 23 * 8 + 6;
/** What receivers must take (RFC 5426 3.2 recommends 2048; 8192 is what common ones allow). */
const MESSAGE_BYTES_MAX = 8 * 1024;
const MESSAGES_MAX = 20_000;
const SYSLOG_FLUSH_MS = 50;
const RECONNECT_MS = 1000;

/** Syslog messages (RFC 5424): a datagram each (RFC 5426), or a line each on a stream socket. */
export function createSyslogWriter(options: SyslogOptions): LogWriter {
  return new SyslogWriter(options);
}

class SyslogWriter implements LogWriter {
  readonly #lineOf: LineOf;
  readonly #timer: NodeJS.Timeout;
  readonly #transport: { send(messages: string[]): string[]; close(): Promise<void>; readonly lost: number };
  readonly #host = hostname().replaceAll(/[^!-~]/g, '') || '-';
  #pending: string[] = [];
  #lost = 0;

  constructor({ to, format = 'combined', flushMs = SYSLOG_FLUSH_MS }: SyslogOptions) {
    this.#lineOf = formatOf(format);
    this.#transport = to.startsWith('/') ? new StreamTransport(to) : new DatagramTransport(to);
    this.#timer = setInterval(() => this.#flush(), flushMs);
    this.#timer.unref();
  }

  readonly write = (record: AccessRecord): void => this.#add('access', record.time, this.#lineOf(record));
  readonly health = (record: HealthRecord): void => this.#add('health', record.time, healthLine(record));
  readonly connection = (record: ConnectionRecord): void =>
    this.#add('connection', record.time, connectionLine(record));
  readonly lost = (): number => this.#lost + this.#transport.lost;
  readonly reopen = (): void => {};

  #add(kind: string, time: number, line: string): void {
    if (this.#pending.length >= MESSAGES_MAX) {
      this.#lost++;
      return;
    }
    const head = `<${PRIORITY}>1 ${new Date(time).toISOString()} ${this.#host} clb ${process.pid} ${kind} - `;
    this.#pending.push(head + line.slice(0, -1));
  }

  #flush(): void {
    if (this.#pending.length === 0) return;
    this.#pending = this.#transport.send(this.#pending);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#flush();
    this.#lost += this.#pending.length;
    await this.#transport.close();
  }
}

class DatagramTransport {
  readonly #socket: dgram.Socket;
  readonly #host: string;
  readonly #port: number;
  #inFlight = 0;
  #onIdle: (() => void) | null = null;
  lost = 0;

  constructor(to: string) {
    const url = URL.parse(`udp://${to}`);
    if (url === null || url.port === '') throw new RangeError(`${to} is no host:port to send syslog to`);
    this.#host = url.hostname.replaceAll(/[[\]]/g, '');
    this.#port = Number(url.port);
    this.#socket = dgram.createSocket(net.isIPv6(this.#host) ? 'udp6' : 'udp4');
    this.#socket.on('error', () => this.lost++);
    this.#socket.unref();
  }

  send(messages: string[]): string[] {
    for (const message of messages) {
      const bytes = Buffer.from(message);
      this.#inFlight++;
      this.#socket.send(bytes.subarray(0, MESSAGE_BYTES_MAX), this.#port, this.#host, (error) => {
        if (error !== null) this.lost++;
        if (--this.#inFlight === 0) this.#onIdle?.();
      });
    }
    return [];
  }

  async close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onIdle = resolve;
    if (this.#inFlight > 0) await promise;
    this.#socket.close();
  }
}

/** Reconnects for ever; what does not fit while nobody listens waits in the writer's queue. */
class StreamTransport {
  readonly #path: string;
  #socket: net.Socket | null = null;
  #timer: NodeJS.Timeout | null = null;
  readonly lost = 0;

  constructor(path: string) {
    this.#path = path;
    this.#connect();
  }

  #connect(): void {
    const socket = net.connect(this.#path);
    socket.on('connect', () => (this.#socket = socket));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#socket = null;
      this.#timer = setTimeout(() => this.#connect(), RECONNECT_MS);
      this.#timer.unref();
    });
    socket.unref();
  }

  send(messages: string[]): string[] {
    if (this.#socket === null || this.#socket.writableNeedDrain) return messages;
    this.#socket.write(messages.map((message) => `${message}\n`).join(''));
    return [];
  }

  async close(): Promise<void> {
    const socket = this.#socket;
    socket?.removeAllListeners('close');
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (socket === null) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.end(() => resolve());
    socket.once('close', () => resolve());
    await promise;
    socket.destroy();
  }
}

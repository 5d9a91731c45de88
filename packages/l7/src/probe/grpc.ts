// A gRPC probe: Check of grpc.health.v1 on an HTTP/2 connection of its own. Two messages of one field each are read and written by
// hand (protobuf encoding guide); whatever else a server says in them is skipped.
import http2, { type IncomingHttpHeaders } from 'node:http2';
import type net from 'node:net';
import type { CheckSpec } from '@openclb/model';
import type { TargetIdentity } from '../upstream.ts';
import type { ProbeOutcome } from './probe.ts';

const PATH = '/grpc.health.v1.Health/Check';
const SERVING = 1;
const ANSWER_BYTES_MAX = 4096;
/** Field 1, length-delimited; field 1, varint. */
const SERVICE_KEY = 0x0a;
const STATUS_KEY = 0x08;

export function probeGrpc(
  socket: net.Socket,
  identity: TargetIdentity,
  port: number,
  spec: CheckSpec,
): Promise<ProbeOutcome> {
  const { service, codes } = spec.grpc ?? { service: '', codes: [] };
  const { promise, resolve } = Promise.withResolvers<ProbeOutcome>();
  const name = identity.address.includes(':') ? `[${identity.address}]` : identity.address;
  const session = http2.connect(`${spec.type === 'grpcs' ? 'https' : 'http'}://${name}:${port}`, {
    createConnection: () => socket,
    settings: { enablePush: false },
  });
  const end = (outcome: ProbeOutcome): void => {
    clearTimeout(timer);
    session.destroy();
    socket.destroy();
    resolve(outcome);
  };
  const bad = (reason: string): void => end({ isGood: false, reason });
  const timer = setTimeout(() => bad(`no answer in ${spec.timeoutMs} ms`), spec.timeoutMs);
  socket.on('error', (error: NodeJS.ErrnoException) => bad(error.code ?? error.message));
  session.on('error', (error: NodeJS.ErrnoException) => bad(error.code ?? error.message));
  session.on('close', () => bad('closed without an answer'));
  const stream = session.request({
    ':method': 'POST',
    ':path': PATH,
    'content-type': 'application/grpc',
    'user-agent': 'clb-healthcheck',
    te: 'trailers',
  });
  let status = -1;
  let bytes: Buffer = Buffer.alloc(0);
  const note = (fields: IncomingHttpHeaders): void => {
    if (fields['grpc-status'] !== undefined) status = Number(fields['grpc-status']);
  };
  stream.on('response', note);
  stream.on('trailers', note);
  stream.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
    if (bytes.length > ANSWER_BYTES_MAX) bad('answer too large');
  });
  stream.on('error', (error: NodeJS.ErrnoException) => bad(error.code ?? error.message));
  stream.on('close', () => end(judge(status, bytes, codes)));
  stream.end(requestOf(service));
  return promise;
}

function judge(status: number, bytes: Buffer, codes: readonly number[]): ProbeOutcome {
  if (codes.includes(status)) return { isGood: true };
  if (status !== 0) return { isGood: false, reason: status < 0 ? 'no gRPC answer' : `gRPC status ${status}` };
  const serving = servingOf(bytes);
  return serving === SERVING ? { isGood: true } : { isGood: false, reason: `serving status ${serving}` };
}

/** HealthCheckRequest { string service = 1; } behind its five bytes of frame. */
function requestOf(service: string): Buffer {
  const text = Buffer.from(service);
  // One byte of varint suffices below 128; the schema allows 200.
  const length = text.length < 0x80 ? [text.length] : [(text.length & 0x7f) | 0x80, text.length >> 7];
  const message = text.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([SERVICE_KEY, ...length]), text]);
  const frame = Buffer.alloc(5);
  frame.writeUInt32BE(message.length, 1);
  return Buffer.concat([frame, message]);
}

/** `status` of HealthCheckResponse; 0 (UNKNOWN) where it does not stand first. */
function servingOf(bytes: Buffer): number {
  return bytes.length >= 7 && bytes[0] === 0 && bytes[5] === STATUS_KEY ? bytes[6]! : 0;
}

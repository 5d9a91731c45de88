// HTTP/2 clients for tests: node:http2 where it is polite enough, frames by hand where it is not.
import http2 from 'node:http2';
import { onTestFinished } from 'vitest';
import { connect, type Peer } from './kit.ts';

export const session = (port: number, options: http2.ClientSessionOptions = {}): http2.ClientHttp2Session => {
  const client = http2.connect(`http://127.0.0.1:${port}`, options);
  client.on('error', () => {});
  onTestFinished(() => client.destroy());
  return client;
};

export interface Answer {
  readonly status: number;
  readonly headers: http2.IncomingHttpHeaders;
  readonly body: string;
  readonly trailers: http2.IncomingHttpHeaders;
  readonly code: number;
}

export const answer = async (stream: http2.ClientHttp2Stream): Promise<Answer> => {
  let headers: http2.IncomingHttpHeaders = {};
  let trailers: http2.IncomingHttpHeaders = {};
  let body = '';
  stream.setEncoding('latin1');
  stream.on('response', (fields) => (headers = fields));
  stream.on('trailers', (fields) => (trailers = fields));
  stream.on('data', (text: string) => (body += text));
  stream.on('error', () => {});
  await new Promise((resolve) => stream.once('close', resolve));
  return { status: Number(headers[':status'] ?? 0), headers, body, trailers, code: stream.rstCode ?? 0 };
};

export const ask = (client: http2.ClientHttp2Session, fields: http2.OutgoingHttpHeaders, body?: string | Buffer) => {
  const stream = client.request({ ':authority': 'a.test', ...fields }, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return answer(stream);
};

/** An HTTP/2 connection whose frames are ours. Literal fields without Huffman coding are all of HPACK that it needs. */
export const rawSession = async (port: number): Promise<Peer> => {
  const peer = await connect(port);
  peer.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n').write(frame(4, 0, 0, Buffer.alloc(0)));
  return peer;
};
export const frame = (type: number, flags: number, id: number, payload: Buffer): Buffer => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, payload]);
};
export const literal = (name: string, value: string): Buffer =>
  Buffer.concat([
    Buffer.from([0, name.length]),
    Buffer.from(name, 'latin1'),
    Buffer.from([value.length]),
    Buffer.from(value, 'latin1'),
  ]);
export const block = (fields: readonly (readonly [string, string])[]): Buffer =>
  Buffer.concat(fields.map(([name, value]) => literal(name, value)));
export const GET = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':path', '/'],
  [':authority', 'a.test'],
] as const;
export const HEADERS = 1;
export const END_STREAM = 1;
export const END_HEADERS = 4;

/** Frame types and first payload words that came, e.g. `7:11` for GOAWAY with code 11. */
export const frames = (peer: Peer): { type: number; id: number; code: number }[] => {
  const bytes = Buffer.from(peer.text, 'latin1');
  const list = [];
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    const type = bytes[at + 3]!;
    const code = type === 3 ? bytes.readUInt32BE(at + 9) : type === 7 ? bytes.readUInt32BE(at + 13) : -1;
    list.push({ type, id: bytes.readUInt32BE(at + 5), code });
  }
  return list;
};

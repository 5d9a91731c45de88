// One DNS question to the servers of the machine or to given ones: UDP from a fresh port each time, TCP when the answer is cut off.
import { randomInt } from 'node:crypto';
import dgram from 'node:dgram';
import { getServers } from 'node:dns';
import net from 'node:net';
import { decodeAnswer, type DnsAnswer, encodeQuestion, type QuestionType } from './message.ts';

const TIMEOUT_MS = 2_000;
const ROUNDS = 2;
const NXDOMAIN = 3;
const MESSAGE_BYTES_MAX = 65_535;

export class DnsFailure extends Error {
  readonly code = 'DnsFailure';
}

/** Answers of the first server that has one; "no such name" is an answer. Rejects with `DnsFailure`. */
export async function ask(servers: readonly string[], name: string, type: QuestionType): Promise<DnsAnswer> {
  const list = servers.length > 0 ? servers : getServers();
  let reason = 'no DNS server is configured';
  for (let round = 0; round < ROUNDS; round++) {
    for (const server of list) {
      try {
        const answer = await askOne(parseServer(server), name, type);
        if (answer.code === 0 || answer.code === NXDOMAIN) return answer;
        reason = `${server} answered code ${answer.code}`;
      } catch (error) {
        if (error instanceof TypeError) throw error;
        reason = `${server}: ${(error as Error).message}`;
      }
    }
  }
  throw new DnsFailure(`cannot resolve ${type} ${name}: ${reason}`);
}

interface Server {
  readonly address: string;
  readonly port: number;
}

/** `10.0.0.2`, `10.0.0.2:5353`, `2001:db8::2`, `[2001:db8::2]:5353`: as `dns.setServers` takes them. */
export function parseServer(text: string): Server {
  if (net.isIP(text) > 0) return { address: text, port: 53 };
  const match = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text) ?? /^([\d.]+):(\d{1,5})$/.exec(text);
  const address = match?.[1] ?? '';
  const port = Number(match?.[2] ?? 53);
  if (net.isIP(address) === 0 || port < 1 || port > 65_535) throw new TypeError(`${text} is no DNS server address`);
  return { address, port };
}

async function askOne(server: Server, name: string, type: QuestionType): Promise<DnsAnswer> {
  const id = randomInt(0x1_0000);
  const question = encodeQuestion(id, name, type);
  const read = (message: Buffer): DnsAnswer | null => decodeAnswer(message, id, name, type);
  const answer = await overUdp(server, question, read);
  return answer.isTruncated ? overTcp(server, question, read) : answer;
}

/** A connected socket hears its server alone; what does not answer the question is passed over. */
function overUdp(server: Server, question: Buffer, read: (message: Buffer) => DnsAnswer | null): Promise<DnsAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<DnsAnswer>();
  const socket = dgram.createSocket(net.isIPv6(server.address) ? 'udp6' : 'udp4');
  const timer = setTimeout(() => reject(new Error(`no answer in ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
  socket.on('error', reject);
  socket.on('message', (message) => {
    const answer = read(message);
    if (answer !== null) resolve(answer);
  });
  socket.connect(server.port, server.address, () => socket.send(question, (error) => error && reject(error)));
  return promise.finally(() => {
    clearTimeout(timer);
    socket.close();
  });
}

function overTcp(server: Server, question: Buffer, read: (message: Buffer) => DnsAnswer | null): Promise<DnsAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<DnsAnswer>();
  const socket = net.connect({ host: server.address, port: server.port });
  const timer = setTimeout(() => reject(new Error(`no answer in ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
  let seen: Buffer = Buffer.alloc(0);
  socket.on('error', reject);
  socket.on('close', () => reject(new Error('closed before the answer')));
  socket.on('data', (chunk: Buffer) => {
    seen = Buffer.concat([seen, chunk]);
    if (seen.length > MESSAGE_BYTES_MAX + 2) return socket.destroy();
    if (seen.length < 2 || seen.length < 2 + seen.readUInt16BE(0)) return;
    const answer = read(seen.subarray(2, 2 + seen.readUInt16BE(0)));
    if (answer === null) reject(new Error('the answer is malformed'));
    else resolve(answer);
  });
  const length = Buffer.alloc(2);
  length.writeUInt16BE(question.length);
  socket.write(Buffer.concat([length, question]));
  return promise.finally(() => {
    clearTimeout(timer);
    socket.destroy();
  });
}

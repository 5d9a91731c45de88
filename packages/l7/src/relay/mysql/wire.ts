// MySQL client/server protocol 4.1 up to the end of a login: packets, the server's greeting (HandshakeV10), the client's answer
// (HandshakeResponse41), errors. Numbers are little-endian.
export const CAPABILITY = {
  LONG_PASSWORD: 0x1,
  CONNECT_WITH_DB: 0x8,
  COMPRESS: 0x20,
  PROTOCOL_41: 0x200,
  SSL: 0x800,
  SECURE_CONNECTION: 0x8000,
  PLUGIN_AUTH: 0x8_0000,
  CONNECT_ATTRS: 0x10_0000,
  PLUGIN_AUTH_LENENC: 0x20_0000,
  ZSTD: 0x400_0000,
} as const;

/** A login is short; what is longer is none. */
export const LOGIN_BYTES_MAX = 64 * 1024;
const HEADER_BYTES = 4;
const SCRAMBLE_BYTES = 20;
const PROTOCOL_VERSION = 10;
export const ERROR_PACKET = 0xff;

export class MysqlMalformed extends Error {
  readonly code = 'MysqlMalformed';
}

export interface Packet {
  readonly sequence: number;
  readonly payload: Buffer;
  /** Offset behind the packet. */
  readonly end: number;
}

/** The packet at the start of `bytes`; null while it is not complete. Throws when it is longer than a login can be. */
export function readPacket(bytes: Buffer): Packet | null {
  if (bytes.length < HEADER_BYTES) return null;
  const length = bytes.readUIntLE(0, 3);
  if (length > LOGIN_BYTES_MAX || length === 0) throw new MysqlMalformed(`a packet of ${length} bytes during a login`);
  const end = HEADER_BYTES + length;
  return bytes.length < end ? null : { sequence: bytes[3]!, payload: bytes.subarray(HEADER_BYTES, end), end };
}

export function packet(sequence: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUIntLE(payload.length, 0, 3);
  header[3] = sequence & 0xff;
  return Buffer.concat([header, payload]);
}

export interface Greeting {
  readonly version: string;
  readonly capabilities: number;
  readonly charset: number;
  readonly status: number;
}

/** Throws on anything but a greeting of protocol 10. */
export function readGreeting(payload: Buffer): Greeting {
  return guarded(() => {
    if (payload[0] !== PROTOCOL_VERSION) throw new MysqlMalformed(`a greeting of protocol ${payload[0]}`);
    const zero = terminator(payload, 1);
    const at = zero + 1 + 4 + 8 + 1;
    const low = payload.readUInt16LE(at);
    const high = payload.readUInt16LE(at + 5);
    return {
      version: payload.toString('latin1', 1, zero),
      capabilities: (low | (high << 16)) >>> 0,
      charset: payload.readUInt8(at + 2),
      status: payload.readUInt16LE(at + 3),
    };
  });
}

/** What a relay can answer for: the target's greeting without TLS and compression, and without the extensions of one vendor. */
export function relayGreeting(of: Greeting, connectionId: number, scramble: Buffer): Buffer {
  const without = CAPABILITY.SSL | CAPABILITY.COMPRESS | CAPABILITY.ZSTD;
  const capabilities = ((of.capabilities & ~without) | CAPABILITY.LONG_PASSWORD | CAPABILITY.PLUGIN_AUTH) >>> 0;
  const numbers = Buffer.alloc(4 + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10);
  numbers.writeUInt32LE(connectionId >>> 0, 0);
  scramble.copy(numbers, 4, 0, 8);
  numbers.writeUInt16LE(capabilities & 0xffff, 13);
  numbers[15] = of.charset;
  numbers.writeUInt16LE(of.status, 16);
  numbers.writeUInt16LE(capabilities >>> 16, 18);
  numbers[20] = SCRAMBLE_BYTES + 1;
  return Buffer.concat([
    Buffer.from([PROTOCOL_VERSION]),
    Buffer.from(`${of.version}\0`, 'latin1'),
    numbers,
    scramble.subarray(8, SCRAMBLE_BYTES),
    Buffer.from('\0mysql_native_password\0', 'latin1'),
  ]);
}

export interface Login {
  readonly capabilities: number;
  readonly user: string;
  readonly schema: string;
  readonly attributes: Readonly<Record<string, string>>;
  /** Offsets of the proof in the payload, its length included. */
  readonly proofStart: number;
  readonly proofEnd: number;
  /** Offsets of the plugin's name with its zero; equal when there is none. */
  readonly pluginStart: number;
  readonly pluginEnd: number;
}

/** `tls`: the client asks for TLS first (SSLRequest). Throws for clients older than MySQL 4.1 and for malformed packets. */
export function readLogin(payload: Buffer): Login | 'tls' {
  return guarded(() => {
    const capabilities = payload.readUInt32LE(0);
    if ((capabilities & CAPABILITY.PROTOCOL_41) === 0) throw new MysqlMalformed('a client of protocol 4.0 or older');
    if (payload.length === 32 && (capabilities & CAPABILITY.SSL) !== 0) return 'tls';
    const userEnd = terminator(payload, 32);
    const user = payload.toString('utf8', 32, userEnd);
    const proofStart = userEnd + 1;
    const proofEnd = endOfProof(payload, proofStart, capabilities);
    let at = proofEnd;
    let schema = '';
    if ((capabilities & CAPABILITY.CONNECT_WITH_DB) !== 0) {
      const end = terminator(payload, at);
      schema = payload.toString('utf8', at, end);
      at = end + 1;
    }
    const pluginStart = at;
    if ((capabilities & CAPABILITY.PLUGIN_AUTH) !== 0) at = terminator(payload, at) + 1;
    const hasAttributes = (capabilities & CAPABILITY.CONNECT_ATTRS) !== 0 && at < payload.length;
    const attributes = hasAttributes ? readAttributes(payload, at) : {};
    return { capabilities, user, schema, attributes, proofStart, proofEnd, pluginStart, pluginEnd: at };
  });
}

function endOfProof(payload: Buffer, start: number, capabilities: number): number {
  if ((capabilities & CAPABILITY.PLUGIN_AUTH_LENENC) !== 0) {
    const { value, end } = readLength(payload, start);
    return inside(payload, end + value);
  }
  if ((capabilities & CAPABILITY.SECURE_CONNECTION) !== 0) return inside(payload, start + 1 + payload.readUInt8(start));
  return terminator(payload, start) + 1;
}

/**
 * The same login without proof and with a plugin that no account has: the target then asks for the proof that the account needs, with
 * its own scramble (AuthSwitchRequest), and the numbers of the packets stay those that the client expects.
 */
export function askAgain(payload: Buffer, login: Login): Buffer {
  return Buffer.concat([
    payload.subarray(0, login.proofStart),
    Buffer.from([0]),
    payload.subarray(login.proofEnd, login.pluginStart),
    Buffer.from('openclb_ask_again\0', 'latin1'),
    payload.subarray(login.pluginEnd),
  ]);
}

/** A login of our own, without password. */
export function ownLogin(user: string, charset: number): Buffer {
  const { PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH, LONG_PASSWORD } = CAPABILITY;
  const head = Buffer.alloc(32);
  head.writeUInt32LE((PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH | LONG_PASSWORD) >>> 0, 0);
  head.writeUInt32LE(LOGIN_BYTES_MAX, 4);
  head[8] = charset;
  return Buffer.concat([head, Buffer.from(`${user}\0\0mysql_native_password\0`)]);
}

export function errorPayload(code: number, state: string, text: string): Buffer {
  const head = Buffer.from([ERROR_PACKET, code & 0xff, code >> 8]);
  return Buffer.concat([head, Buffer.from(`#${state}${text}`)]);
}

export function readError(payload: Buffer): { code: number; text: string } {
  const code = payload.length >= 3 ? payload.readUInt16LE(1) : 0;
  const from = payload[3] === 0x23 ? 9 : 3;
  return { code, text: payload.toString('utf8', from, Math.min(payload.length, from + 200)) };
}

function readAttributes(payload: Buffer, start: number): Record<string, string> {
  const attributes: Record<string, string> = Object.create(null) as Record<string, string>;
  const { value, end: first } = readLength(payload, start);
  const last = inside(payload, first + value);
  const text = (at: number): { text: string; end: number } => {
    const { value: length, end } = readLength(payload, at);
    if (end + length > last) throw new MysqlMalformed('an attribute that leaves its packet');
    return { text: payload.toString('utf8', end, end + length), end: end + length };
  };
  for (let at = first; at < last;) {
    const key = text(at);
    const held = text(key.end);
    attributes[key.text] = held.text;
    at = held.end;
  }
  return attributes;
}

/** Length-encoded integers of one to three bytes; longer ones have no place in a login. */
function readLength(payload: Buffer, at: number): { value: number; end: number } {
  const first = payload.readUInt8(at);
  if (first < 0xfb) return { value: first, end: at + 1 };
  if (first === 0xfc) return { value: payload.readUInt16LE(at + 1), end: at + 3 };
  throw new MysqlMalformed('a length that no login needs');
}

function terminator(payload: Buffer, from: number): number {
  const at = payload.indexOf(0, from);
  if (at < 0) throw new MysqlMalformed('a text without end');
  return at;
}

function inside(payload: Buffer, end: number): number {
  if (end > payload.length) throw new MysqlMalformed('a field that leaves its packet');
  return end;
}

function guarded<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof RangeError) throw new MysqlMalformed('a packet that ends too early');
    throw error;
  }
}

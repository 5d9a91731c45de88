// Personalised configs of load balancers and listeners (tencent-cloud.md E4): what of them reaches a proxy, and the checks that
// need more than one directive. The directives themselves are in `custom-directives.ts`.
import { type Static, Type } from 'typebox';
import { type CustomSetting, readDirective } from './custom-directives.ts';
import { parseDirectives, SyntaxProblem } from './nginx-syntax.ts';

const closed = { additionalProperties: false } as const;
export const CUSTOM_CONFIG_BYTES_MAX = 64 * 1024;

export const CustomConfigText = Type.String({
  maxLength: CUSTOM_CONFIG_BYTES_MAX,
  description: 'Personalised config: directives in nginx syntax, each ended by ; (docs/how-to/personalised-config.md)',
});

const ms = Type.Integer({ minimum: 0, maximum: 3_600_000 });
const bytes = Type.Integer({ minimum: 1, maximum: 10_737_418_240 });
const Field = Type.Object({ name: Type.String({ maxLength: 64 }), value: Type.String({ maxLength: 1024 }) }, closed);

/** What a proxy does for a listener that has a personalised config. TLS directives are in its TLS policy already. */
export const CustomConfig = Type.Object(
  {
    headTimeoutMs: Type.Optional(ms),
    headBytesMax: Type.Optional(bytes),
    bodyTimeoutMs: Type.Optional(ms),
    bodyBytesMax: Type.Optional(bytes),
    keepAliveTimeoutMs: Type.Optional(ms),
    requestsPerConnectionMax: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })),
    connectTimeoutMs: Type.Optional(ms),
    readTimeoutMs: Type.Optional(ms),
    requestTimeoutMs: Type.Optional(ms),
    sendTimeoutMs: Type.Optional(ms),
    responseHeadBytesMax: Type.Optional(bytes),
    h2FieldBytesMax: Type.Optional(bytes),
    buffersRequest: Type.Optional(Type.Boolean()),
    serverTokens: Type.Optional(Type.Boolean()),
    redirectsToHttps: Type.Optional(Type.Boolean()),
    forwardedProto: Type.Optional(Type.Enum(['http', 'https'])),
    requestHeaders: Type.Optional(Type.Array(Field, { maxItems: 64 })),
    addedHeaders: Type.Optional(
      Type.Array(Type.Object({ ...Field.properties, always: Type.Boolean() }, closed), { maxItems: 256 }),
    ),
    setHeaders: Type.Optional(Type.Array(Field, { maxItems: 256 })),
    errorPages: Type.Optional(
      Type.Array(
        Type.Object(
          {
            codes: Type.Array(Type.Integer({ minimum: 400, maximum: 599 }), { minItems: 1, maxItems: 64 }),
            status: Type.Integer({ minimum: 301, maximum: 308 }),
            location: Type.String({ maxLength: 500 }),
          },
          closed,
        ),
        { maxItems: 64 },
      ),
    ),
  },
  closed,
);
export type CustomConfig = Static<typeof CustomConfig>;

/** TLS directives, which become part of the listener's TLS policy. */
export interface CustomTls {
  readonly minVersion?: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3';
  readonly maxVersion?: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3';
  readonly ciphers?: string;
  readonly verifyDepth?: number;
}

export interface ParsedCustomConfig {
  readonly config: CustomConfig;
  readonly tls: CustomTls;
}

const MIB = 1024 * 1024;
const UNBUFFERED_BODY_BYTES = 256 * MIB;
const REPEATABLE = new Set(['add_header', 'more_set_headers', 'proxy_set_header', 'error_page']);

/** Throws `SyntaxProblem`, which names line and column. */
export function parseCustomConfig(text: string): ParsedCustomConfig {
  if (new TextEncoder().encode(text).length > CUSTOM_CONFIG_BYTES_MAX) {
    throw new SyntaxProblem(1, 1, `the config is longer than ${CUSTOM_CONFIG_BYTES_MAX} bytes`);
  }
  const setting: CustomSetting = { config: {}, tls: {} };
  const seen = new Map<string, { line: number; column: number }>();
  for (const directive of parseDirectives(text)) {
    const { text: name, line, column } = directive.name;
    const before = seen.get(name);
    if (before !== undefined && !REPEATABLE.has(name)) {
      throw new SyntaxProblem(line, column, `${name} is here twice; it was on line ${before.line}`);
    }
    seen.set(name, { line, column });
    readDirective(setting, directive);
  }
  const at = (name: string): { line: number; column: number } => seen.get(name) ?? { line: 1, column: 1 };
  checkBuffers(setting, seen.has('proxy_buffers') ? at('proxy_buffers') : at('proxy_buffer_size'));
  const { bodyBytesMax, buffersRequest } = setting.config;
  if (bodyBytesMax !== undefined && bodyBytesMax > UNBUFFERED_BODY_BYTES && buffersRequest !== false) {
    const { line, column } = at('client_max_body_size');
    throw new SyntaxProblem(line, column, 'client_max_body_size above 256M needs proxy_request_buffering off');
  }
  return { config: setting.config as CustomConfig, tls: setting.tls };
}

/** nginx refuses to start otherwise: a response head and what is being sent must fit beside each other (E4). */
function checkBuffers(
  { bufferBytes, buffers }: CustomSetting,
  { line, column }: { line: number; column: number },
): void {
  if (bufferBytes === undefined && buffers === undefined) return;
  const { count, bytes: each } = buffers ?? { count: 8, bytes: 4096 };
  const needed = 2 * Math.max(bufferBytes ?? 4096, each);
  const room = (count - 1) * each;
  if (needed <= room) return;
  throw new SyntaxProblem(
    line,
    column,
    `2 × max(proxy_buffer_size, proxy_buffers size) is ${needed} bytes and must not exceed (proxy_buffers number − 1) × size, ${room} bytes`,
  );
}

/** A listener's own directives stand before those of its load balancer; lists replace lists, as in nginx. */
export function mergeCustomConfig(outer: ParsedCustomConfig, inner: ParsedCustomConfig): ParsedCustomConfig {
  return { config: { ...outer.config, ...inner.config }, tls: { ...outer.tls, ...inner.tls } };
}

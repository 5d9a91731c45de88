// What a rule or an HTTP listener does beyond choosing a group: conditions, stickiness, redirects, limits, header edits,
// compression (tencent-cloud.md C-P0, E2, E3, E5). The same objects are stored and compiled into proxy images.
import { type Static, Type } from 'typebox';
import { Forward, Hedge, Mirror, Retry, UpstreamTimeouts } from './upstream-policy.ts';

const closed = { additionalProperties: false } as const;

/** Variables of texts in policies, beside the captures $1 to $9. */
export const POLICY_VARIABLES = [
  'scheme',
  'host',
  'http_host',
  'uri',
  'request_uri',
  'args',
  'request_method',
  'remote_addr',
  'remote_port',
  'server_addr',
  'server_port',
  'vport',
  'stgw_request_id',
  'forwarded_for',
  'forwarded_by',
] as const;
export type PolicyVariable = (typeof POLICY_VARIABLES)[number];

const FieldName = Type.String({
  minLength: 1,
  maxLength: 64,
  pattern: "^[!#$%&'*+.^`|~0-9A-Za-z-]+$",
  description: 'Name of a header field, without regard to case',
});
const CookieName = Type.String({
  minLength: 1,
  maxLength: 64,
  pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
  description: 'Name of a cookie',
});
/** Visible ASCII, spaces and tabs: nothing that could end a line. */
const FieldValue = Type.String({
  maxLength: 1024,
  pattern: '^[\\t -~]*$',
  description: 'Value; may hold $remote_addr, $host, $uri and the other variables',
});
const Cidr = Type.String({ maxLength: 49, description: 'An address or a prefix: 10.0.0.0/8, 2001:db8::/32' });
const Cidrs = (description: string) => Type.Array(Cidr, { maxItems: 200, description });
const Regex = Type.String({
  minLength: 1,
  maxLength: 200,
  description: 'A regular expression that runs in linear time',
});

const Named = (name: typeof FieldName, what: string) =>
  Type.Array(
    Type.Object(
      {
        name,
        value: Type.Optional(Type.String({ maxLength: 200, description: 'Exactly this value; absent: any' })),
        regex: Type.Optional(Regex),
      },
      { ...closed, description: what },
    ),
    { maxItems: 16, description: `${what}; all of them must hold` },
  );

export const RuleMatch = Type.Object(
  {
    order: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 1000, default: 100, description: 'The lowest is looked at first' }),
    ),
    methods: Type.Optional(
      Type.Array(Type.String({ pattern: '^[A-Z][A-Z-]{0,31}$' }), {
        maxItems: 16,
        description: 'Any of these methods',
      }),
    ),
    headers: Type.Optional(Named(FieldName, 'A header field')),
    cookies: Type.Optional(Named(CookieName, 'A cookie')),
    query: Type.Optional(Named(CookieName, 'A query parameter')),
    sources: Type.Optional(Cidrs('Clients of these networks')),
    percent: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 100, description: 'This share of the requests that fit otherwise' }),
    ),
    percentBy: Type.Optional(
      Type.Enum(['request', 'source'], { default: 'request', description: 'source: a client stays on its side' }),
    ),
  },
  { ...closed, description: 'Conditions; rules of the same domain and path without any take what is left' },
);
export type RuleMatch = Static<typeof RuleMatch>;

export const Stickiness = Type.Object(
  {
    type: Type.Enum(['insert', 'rewrite', 'source'], {
      description:
        'insert: a cookie of the balancer. rewrite: a cookie that the target sets. source: by client address',
    }),
    cookie: Type.Optional({ ...CookieName, default: 'tgw_l7_route' }),
    seconds: Type.Optional(
      Type.Integer({ minimum: 30, maximum: 86_400, default: 3600, description: 'Life of the binding after a reply' }),
    ),
  },
  { ...closed, description: 'Keeps a client on one target' },
);
export type Stickiness = Static<typeof Stickiness>;

export const Redirect = Type.Object(
  {
    code: Type.Optional(Type.Enum([301, 302, 307, 308], { default: 302, description: 'Status of the answer' })),
    to: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 500,
        pattern: '^(/|\\$|https?://)[!-~]*$',
        description: 'Path or URL; may hold $scheme, $host, $uri, $args, $request_uri and $1 to $9 of the pattern',
      }),
    ),
    rule: Type.Optional(
      Type.String({
        pattern: '^loc-[0-9a-z-]{1,60}$',
        description: 'Instead of `to`: another rule of the load balancer',
      }),
    ),
    takeUrl: Type.Optional(
      Type.Boolean({ default: true, description: 'With `rule`: keep path and query of the request' }),
    ),
    pattern: Type.Optional({ ...Regex, description: "Captures from the path; absent: the rule's own regex" }),
  },
  { ...closed, description: 'Answers with another address' },
);
export type Redirect = Static<typeof Redirect>;

const body = Type.String({ maxLength: 8192, description: 'Body' });
const contentType = Type.String({ maxLength: 128, pattern: '^[ -~]*$', description: 'Content-Type' });

export const FixedResponse = Type.Object(
  {
    status: Type.Integer({ minimum: 200, maximum: 599, description: 'Status' }),
    contentType: Type.Optional(contentType),
    body: Type.Optional(body),
  },
  { ...closed, description: 'Answers without a target' },
);
export type FixedResponse = Static<typeof FixedResponse>;

export const ErrorPage = Type.Object(
  {
    codes: Type.Array(Type.Integer({ minimum: 400, maximum: 599 }), {
      minItems: 1,
      maxItems: 64,
      description: 'Statuses that are answered with this page',
    }),
    of: Type.Optional(
      Type.Enum(['proxy', 'target', 'both'], { default: 'proxy', description: 'Whose answers it replaces' }),
    ),
    status: Type.Optional(Type.Integer({ minimum: 200, maximum: 599, description: 'Status instead' })),
    contentType: Type.Optional(contentType),
    body: Type.Optional(body),
    location: Type.Optional(
      Type.String({ maxLength: 500, pattern: '^(/|https?://)[!-~]*$', description: 'Redirect there instead (302)' }),
    ),
  },
  { ...closed, description: 'Page for errors' },
);
export type ErrorPage = Static<typeof ErrorPage>;

export const RateLimit = Type.Object(
  {
    perSecond: Type.Number({ exclusiveMinimum: 0, maximum: 1_000_000, description: 'Requests a second, each proxy' }),
    burst: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1_000_000,
        description: 'Requests at once; one second of the rate if absent',
      }),
    ),
    by: Type.Optional(
      Type.Enum(['all', 'client', 'header'], { default: 'all', description: 'One bucket, or one for each value' }),
    ),
    header: Type.Optional(FieldName),
  },
  { ...closed, description: 'Token bucket; what exceeds it is answered 429 with Retry-After' },
);
export type RateLimit = Static<typeof RateLimit>;

const rates = Type.Array(RateLimit, { maxItems: 8, description: 'All of them must hold' });
const access = {
  allow: Type.Optional(Cidrs('Only clients of these networks; others get 403')),
  deny: Type.Optional(Cidrs('Clients of these networks get 403, before `allow` is asked')),
};

export const HeaderEdit = Type.Object(
  {
    action: Type.Enum(['set', 'add', 'remove'], { description: 'set replaces every field of this name' }),
    name: FieldName,
    value: Type.Optional(FieldValue),
  },
  { ...closed, description: 'An edit of one header field' },
);
export type HeaderEdit = Static<typeof HeaderEdit>;
const edits = (what: string) => Type.Array(HeaderEdit, { maxItems: 32, description: what });

export const Compression = Type.Object(
  {
    mode: Type.Enum(['transparent', 'compatibility'], {
      description: 'transparent: targets compress, or nobody. compatibility: the proxy compresses what targets did not',
    }),
    codings: Type.Optional(
      Type.Array(Type.Enum(['gzip', 'br', 'zstd']), {
        uniqueItems: true,
        description: 'Codings in order of preference; zstd, br, gzip if absent',
      }),
    ),
    minBytes: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 1_048_576, default: 256, description: 'Shorter bodies are left alone' }),
    ),
  },
  { ...closed, description: 'Compression of response bodies' },
);
export type Compression = Static<typeof Compression>;

export const RulePolicy = Type.Object(
  {
    match: Type.Optional(RuleMatch),
    stickiness: Type.Optional(Stickiness),
    redirect: Type.Optional(Redirect),
    respond: Type.Optional(FixedResponse),
    rewrite: Type.Optional(
      Type.Object(
        {
          pattern: Regex,
          to: Type.String({ maxLength: 500, pattern: '^/[!-~]*$', description: 'Path for the target; $1 to $9' }),
        },
        { ...closed, description: 'Changes the path that the target sees; the query is kept' },
      ),
    ),
    errorPages: Type.Optional(Type.Array(ErrorPage, { maxItems: 16, description: 'First page that names the status' })),
    rates: Type.Optional(rates),
    ...access,
    bodyBytesMax: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 10_737_418_240, description: 'Longer request bodies are refused with 413' }),
    ),
    requestBuffering: Type.Optional(
      Type.Boolean({
        description:
          'True: a request body of up to 1 MiB is taken whole before a target hears of it. False: it streams, as when absent',
      }),
    ),
    requestHeaders: Type.Optional(edits('Edits of requests')),
    responseHeaders: Type.Optional(edits('Edits of responses')),
    compression: Type.Optional(Compression),
    forward: Type.Optional(Forward),
    timeouts: Type.Optional(UpstreamTimeouts),
    retry: Type.Optional(Retry),
    hedge: Type.Optional(Hedge),
    mirror: Type.Optional(Mirror),
    hash: Type.Optional(
      Type.Object(
        {
          by: Type.Enum(['source', 'header', 'cookie', 'path'], { description: 'What is hashed' }),
          name: Type.Optional({ ...CookieName, description: 'Name of the header field or cookie' }),
          boundedLoad: Type.Optional(
            Type.Number({ minimum: 1.05, maximum: 10, description: 'No target above this multiple of the mean load' }),
          ),
        },
        { ...closed, description: 'Key of the maglev scheduler; absent: the client address' },
      ),
    ),
  },
  { ...closed, description: 'What the rule does beyond choosing a group' },
);
export type RulePolicy = Static<typeof RulePolicy>;

export const ListenerPolicy = Type.Object(
  {
    redirectToHttps: Type.Optional(
      Type.Object(
        {
          code: Type.Optional(Type.Enum([301, 302, 307, 308], { default: 301, description: 'Status of the answer' })),
          port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535, default: 443, description: 'HTTPS port' })),
        },
        { ...closed, description: 'Every request is sent to the same address under https' },
      ),
    ),
    rates: Type.Optional(rates),
    ...access,
    connectionsMax: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1_000_000, description: 'Open client connections, each proxy' }),
    ),
    connectionsPerClientMax: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1_000_000, description: 'Open connections of one client address' }),
    ),
    proxyProtocolFrom: Type.Optional(
      Cidrs('PROXY protocol v1 or v2 is expected from these networks; from others it is no HTTP'),
    ),
    accessLogShare: Type.Optional(
      Type.Number({
        minimum: 0,
        maximum: 1,
        description: 'Share of the requests that are logged; those that fail always are',
      }),
    ),
    forwarded: Type.Optional(
      Type.Boolean({ description: 'Writes the Forwarded field (RFC 7239); what clients send under it is removed' }),
    ),
  },
  { ...closed, description: 'What an HTTP or HTTPS listener does with every request' },
);
export type ListenerPolicy = Static<typeof ListenerPolicy>;

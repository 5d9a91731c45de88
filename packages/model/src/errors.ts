// The table of errors: code → HTTP status, who is at fault, whether trying again helps, text and hint. Problem bodies are RFC 9457.
// `tencentCode` is what the cloud API dialect answers for the same thing (tencent-cloud.md B5, D-P0).
import { type Static, Type } from 'typebox';

export interface ErrorRow {
  readonly status: number;
  /** client: the request must change. state: the world must change first. server: our fault or our capacity. */
  readonly source: 'client' | 'state' | 'server';
  readonly retryable: boolean;
  /** `{name}` parts are filled from the error's data. */
  readonly template: string;
  readonly hint: string;
  readonly tencentCode?: string;
}

export const ERRORS = {
  BadBody: {
    status: 400,
    source: 'client',
    retryable: false,
    template: '{field} {rule}',
    hint: 'Correct the field and send the request again.',
    tencentCode: 'InvalidParameter',
  },
  UnknownField: {
    status: 400,
    source: 'client',
    retryable: false,
    template: '{field} is not a known field',
    hint: 'Remove the field or correct its name.',
    tencentCode: 'UnknownParameter',
  },
  BadJson: {
    status: 400,
    source: 'client',
    retryable: false,
    template: 'the body is not JSON: {rule}',
    hint: 'Send a JSON object with content-type application/json.',
    tencentCode: 'InvalidRequest',
  },
  BodyTooLarge: {
    status: 413,
    source: 'client',
    retryable: false,
    template: 'the body is larger than {limit} bytes',
    hint: 'Send less at once.',
    tencentCode: 'RequestSizeLimitExceeded',
  },
  UnsupportedMediaType: {
    status: 415,
    source: 'client',
    retryable: false,
    template: 'the content type {type} is not understood',
    hint: 'Send application/json.',
    tencentCode: 'InvalidRequest',
  },
  BadQuery: {
    status: 400,
    source: 'client',
    retryable: false,
    template: '{field} {rule}',
    hint: 'Correct the query parameter.',
    tencentCode: 'InvalidParameterValue',
  },
  BadAddress: {
    status: 400,
    source: 'client',
    retryable: false,
    template: '{field} is not an IP address: {value}',
    hint: 'Write IPv4 as a.b.c.d and IPv6 as RFC 4291 says, without zone.',
    tencentCode: 'InvalidParameterValue',
  },
  BadReference: {
    status: 400,
    source: 'client',
    retryable: false,
    template: '{field} names {value}, which does not exist',
    hint: 'Create it first, or correct the name.',
    tencentCode: 'InvalidParameterValue',
  },
  BadCombination: {
    status: 400,
    source: 'client',
    retryable: false,
    template: '{field} {rule}',
    hint: 'See docs/reference/api.md for what goes together.',
    tencentCode: 'InvalidParameter',
  },
  ReservedPort: {
    status: 400,
    source: 'client',
    retryable: false,
    template: '{field} is a reserved port: {value}',
    hint: 'Choose another port.',
    tencentCode: 'InvalidParameter.PortCheckFailed',
  },
  ReservedRange: {
    status: 400,
    source: 'client',
    retryable: false,
    template: '{field} lies in the service range {value}',
    hint: 'The service range 100.64.0.0/10 is used by probes and proxies; choose another block.',
    tencentCode: 'InvalidParameterValue.Range',
  },
  Unauthorized: {
    status: 401,
    source: 'client',
    retryable: false,
    template: 'the request has no valid key',
    hint: 'Send `Authorization: Bearer <key>`; nodes use the join token, people an API key.',
    tencentCode: 'AuthFailure.InvalidAuthorization',
  },
  Forbidden: {
    status: 403,
    source: 'client',
    retryable: false,
    template: 'this key may not do that',
    hint: 'Use an API key with the right to write.',
    tencentCode: 'UnauthorizedOperation',
  },
  NoSuchRoute: {
    status: 404,
    source: 'client',
    retryable: false,
    template: 'there is no {method} {path}',
    hint: 'See /openapi.json for the routes.',
    tencentCode: 'InvalidAction',
  },
  NotFound: {
    status: 404,
    source: 'client',
    retryable: false,
    template: '{kind} {id} does not exist',
    hint: 'List the resources to see what exists.',
    tencentCode: 'ResourceNotFound',
  },
  NodeUnknown: {
    status: 404,
    source: 'state',
    retryable: true,
    template: 'node {id} is not registered',
    hint: 'Register it with POST /v1/nodes, or list it under `nodes` in the config.',
    tencentCode: 'ResourceNotFound',
  },
  AlreadyExists: {
    status: 409,
    source: 'state',
    retryable: false,
    template: '{kind} {id} exists already',
    hint: 'Change the existing one, or choose another name.',
    tencentCode: 'InvalidParameterValue.Duplicate',
  },
  AddressInUse: {
    status: 409,
    source: 'state',
    retryable: false,
    template: 'address {address} is used by {owner}',
    hint: 'Choose another address, or free this one first.',
    tencentCode: 'ResourceInUse',
  },
  PortInUse: {
    status: 409,
    source: 'state',
    retryable: false,
    template: '{protocol} port {port} of {loadBalancer} is used by {owner}',
    hint: 'TCP and UDP may share a number; TCP, HTTP, HTTPS and TCP_SSL may not.',
    tencentCode: 'InvalidParameter.PortCheckFailed',
  },
  ResourceInUse: {
    status: 409,
    source: 'state',
    retryable: false,
    template: '{kind} {id} is used by {owner}',
    hint: 'Remove what uses it first.',
    tencentCode: 'ResourceInUse',
  },
  Conflict: {
    status: 409,
    source: 'state',
    retryable: true,
    template: 'somebody changed the same thing at the same time',
    hint: 'Read it again and repeat the change.',
    tencentCode: 'FailedOperation.ResourceInOperating',
  },
  EipBound: {
    status: 409,
    source: 'state',
    retryable: false,
    template: '{id} is bound to {binding} and cannot be released',
    hint: 'Unbind it first: POST /v1/eips/{id}/unbind.',
    tencentCode: 'InvalidAddressIdStatus.NotPermit',
  },
  EipAlreadyBound: {
    status: 409,
    source: 'state',
    retryable: false,
    template: '{id} is bound to {binding} already',
    hint: 'Unbind it first.',
    tencentCode: 'InvalidAddressIdStatus.NotPermit',
  },
  EipNotBound: {
    status: 409,
    source: 'state',
    retryable: false,
    template: '{id} is not bound',
    hint: 'Nothing needs to be done.',
    tencentCode: 'InvalidAddressIdStatus.NotPermit',
  },
  InstanceHasEip: {
    status: 409,
    source: 'state',
    retryable: false,
    template: '{address} of VPC {vpc} has {owner} already',
    hint: 'One address has one EIP; unbind the other first.',
    tencentCode: 'InvalidInstanceId.AlreadyBindEip',
  },
  PoolExhausted: {
    status: 409,
    source: 'state',
    retryable: true,
    template: 'the {pool} pool has no free address',
    hint: 'Release something, or configure a larger pool.',
    tencentCode: 'ResourceInsufficient',
  },
  NotInPool: {
    status: 400,
    source: 'client',
    retryable: false,
    template: '{address} is not in the {pool} pool',
    hint: 'Choose an address of the pool, or leave it out to have one allocated.',
    tencentCode: 'InvalidParameterValue.AddressNotFound',
  },
  LimitExceeded: {
    status: 409,
    source: 'state',
    retryable: false,
    template: 'the limit of {limit} {what} is reached',
    hint: 'Remove some, or spread them.',
    tencentCode: 'LimitExceeded',
  },
  NoNodeToAsk: {
    status: 409,
    source: 'state',
    retryable: true,
    template: 'no director is connected that could answer',
    hint: 'Start a director, or look at `clb status`.',
    tencentCode: 'ResourceUnavailable',
  },
  NodeTimeout: {
    status: 504,
    source: 'server',
    retryable: true,
    template: 'node {id} did not answer within {ms} ms',
    hint: 'Look at `clb status`; try another node.',
    tencentCode: 'FailedOperation',
  },
  StoreUnavailable: {
    status: 503,
    source: 'server',
    retryable: true,
    template: 'the store does not answer',
    hint: 'Try again; nodes keep serving meanwhile.',
    tencentCode: 'InternalError',
  },
  Internal: {
    status: 500,
    source: 'server',
    retryable: false,
    template: 'an error of the controller',
    hint: 'This is a bug; the log of the controller says more.',
    tencentCode: 'InternalError',
  },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

export const Problem = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String({ description: 'Stable code of docs/reference/errors.md' }),
    detail: Type.String(),
    hint: Type.String({ description: 'What to do next' }),
    retryable: Type.Boolean(),
    field: Type.Optional(Type.String({ description: 'JSON pointer of the field that is wrong' })),
    rule: Type.Optional(Type.String({ description: 'The rule that it breaks' })),
  },
  { description: 'An error (RFC 9457), sent as application/problem+json' },
);
export type Problem = Static<typeof Problem>;

/** A refused request: kind 2 of conventions 1.7. */
export class ClbError extends Error {
  readonly code: ErrorCode;
  readonly data: Readonly<Record<string, string | number>>;
  readonly hint: string;

  constructor(code: ErrorCode, data: Readonly<Record<string, string | number>> = {}, hint?: string) {
    const row: ErrorRow = ERRORS[code];
    super(fill(row.template, data));
    this.name = 'ClbError';
    this.code = code;
    this.data = data;
    this.hint = hint ?? fill(row.hint, data);
  }

  get status(): number {
    return ERRORS[this.code].status;
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }

  get source(): ErrorRow['source'] {
    return ERRORS[this.code].source;
  }

  toProblem(): Problem {
    const { field, rule } = this.data;
    return {
      type: `https://openclb.dev/errors/${this.code}`,
      title: this.code,
      status: this.status,
      code: this.code,
      detail: this.message,
      hint: this.hint,
      retryable: this.retryable,
      ...(field === undefined ? {} : { field: String(field) }),
      ...(rule === undefined ? {} : { rule: String(rule) }),
    };
  }
}

function fill(template: string, data: Readonly<Record<string, string | number>>): string {
  return template.replaceAll(/\{(\w+)\}/g, (whole, name: string) => (name in data ? String(data[name]) : whole));
}

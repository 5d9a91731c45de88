// What the proxy knows of gRPC (PROTOCOL-HTTP2 and statuscodes of gRPC): who speaks it, deadlines, and its own failures in its words.
import type { FailureCode } from '../phase/fail.ts';

export type GrpcKind = '' | 'grpc' | 'grpc-web' | 'grpc-web-text';

export function grpcKindOf(contentType: string | null): GrpcKind {
  const found = /^application\/(grpc(?:-web(?:-text)?)?)(?:[+;]|$)/i.exec(contentType ?? '');
  return found === null ? '' : (found[1]!.toLowerCase() as GrpcKind);
}

const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** Milliseconds of `grpc-timeout: 100m`; null: there is none, or it is not well formed. */
export function grpcTimeoutMs(text: string | null): number | null {
  const found = /^(\d{1,8})([HMSmun])$/.exec(text ?? '');
  return found === null ? null : Number(found[1]) * UNITS[found[2]!]!;
}

const STATUS = { deadline: 4, exhausted: 8, denied: 7, unimplemented: 12, internal: 13, unavailable: 14 } as const;

/** By the status that HTTP clients get (http-grpc-status-mapping of gRPC), but for what gRPC has its own word for. */
export function grpcStatusOf(code: FailureCode, status: number): number {
  if (code === 'request-timeout' || code === 'response-timeout') return STATUS.deadline;
  if (code === 'response-truncated' || code === 'response-missing') return STATUS.unavailable;
  switch (status) {
    case 403:
      return STATUS.denied;
    case 404:
      return STATUS.unimplemented;
    case 413:
      return STATUS.exhausted;
    case 429:
    case 503:
    case 504:
      return STATUS.unavailable;
    case 502:
      return code === 'response-malformed' ? STATUS.internal : STATUS.unavailable;
    default:
      return STATUS.internal;
  }
}

export function grpcFields(kind: GrpcKind, code: FailureCode, status: number): string {
  return `Content-Type: application/${kind}\r\nGrpc-Status: ${grpcStatusOf(code, status)}\r\nGrpc-Message: ${code}\r\n`;
}

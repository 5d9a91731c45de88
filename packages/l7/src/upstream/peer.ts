// How a target is spoken to (tencent-cloud.md C-P0, ForwardType). The key is part of what pools are kept by: a connection whose TLS
// was verified for one name is never lent to a rule that wants another (layer7.md 3.1).
import { createHash } from 'node:crypto';
import type { ConnectionOptions } from 'node:tls';
import type { Forward } from '@openclb/model';

export interface Peer {
  readonly key: string;
  readonly isHttp2: boolean;
  /** Null: in plain. */
  readonly tls: ConnectionOptions | null;
}

/** Null: plain HTTP/1.1. */
export function peerOf(forward: Forward | undefined): Peer | null {
  if (forward === undefined || forward.type === 'http') return null;
  const { type, serverName, verify = false, authority } = forward;
  const isHttp2 = type === 'grpc' || type === 'grpcs';
  if (type === 'grpc') return { key: type, isHttp2, tls: null };
  const digest = createHash('sha256')
    .update(JSON.stringify([type, serverName ?? '', verify, authority ?? '']))
    .digest('hex');
  const tls: ConnectionOptions = {
    rejectUnauthorized: verify,
    ALPNProtocols: [isHttp2 ? 'h2' : 'http/1.1'],
    ...(serverName === undefined ? {} : { servername: serverName }),
    ...(authority === undefined ? {} : { ca: authority }),
  };
  return { key: digest, isHttp2, tls };
}

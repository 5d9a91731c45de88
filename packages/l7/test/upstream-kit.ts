// Proxies whose one rule has a policy towards its targets, and gRPC clients and servers by an independent implementation.
import * as grpc from '@grpc/grpc-js';
import { onTestFinished } from 'vitest';
import type { GroupRow, RulePolicy } from '@openclb/model';
import type { AccessRecord, ProxyOptions } from '../src/index.ts';
import { imageOf, type SimpleConfig } from '../src/simple.ts';
import { sleep, start, type Started } from './kit.ts';

export interface WithPolicy extends Started {
  readonly records: AccessRecord[];
}

/** Waits for what another process of events brings about. */
export async function until(isTrue: () => boolean): Promise<void> {
  for (let waited = 0; !isTrue() && waited < 3000; waited += 10) await sleep(10);
}

/** `mirror` becomes a group of its own, whatever name the policy gives it. */
export async function startWith(
  targets: SimpleConfig['targets'],
  policy: RulePolicy,
  options: Partial<ProxyOptions> &
    Partial<Pick<SimpleConfig, 'scheduler' | 'check'>> & { mirror?: string[]; group?: Partial<GroupRow> } = {},
): Promise<WithPolicy> {
  const { mirror = [], scheduler, check, group, ...rest } = options;
  const records: AccessRecord[] = [];
  const started = await start({
    targets: targets!,
    ...rest,
    ...(scheduler === undefined ? {} : { scheduler }),
    accessLog: (record) => void records.push(record),
  });
  const image = await imageOf({
    listen: started.port === 0 ? 0 : { host: '127.0.0.1', port: started.port },
    routes: [{ targets: targets!, ...(scheduler === undefined ? {} : { scheduler }) }, ...copies(mirror)],
    ...(check === undefined ? {} : { check }),
  });
  // The listening socket stays the one that `start` has opened.
  image.listeners[0]!.port = 0;
  image.listeners[0]!.rules = image.listeners[0]!.rules.slice(0, 1);
  const own = { ...policy };
  if (own.mirror !== undefined) own.mirror = { ...own.mirror, targetGroup: image.groups[1]!.id };
  image.listeners[0]!.rules[0]!.policy = own;
  Object.assign(image.groups[0]!, group);
  await started.proxy.apply(image);
  return { ...started, records };
}

const copies = (mirror: readonly string[]) => (mirror.length === 0 ? [] : [{ path: '/mirror', targets: mirror }]);

const same = (bytes: Buffer): Buffer => bytes;
const method = (path: string, requestStream: boolean, responseStream: boolean) => ({
  path,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});

/** Four kinds of call over bytes as they are. */
export const SERVICE = {
  unary: method('/test.Echo/Unary', false, false),
  up: method('/test.Echo/Up', true, false),
  down: method('/test.Echo/Down', false, true),
  both: method('/test.Echo/Both', true, true),
} as const satisfies grpc.ServiceDefinition;

export type Handlers = Partial<Record<keyof typeof SERVICE, grpc.UntypedHandleCall>>;

export async function grpcServer(
  handlers: Handlers,
  credentials = grpc.ServerCredentials.createInsecure(),
  options: grpc.ServerOptions = {},
): Promise<{ url: string; port: number; server: grpc.Server }> {
  const server = new grpc.Server(options);
  server.addService(SERVICE, handlers as grpc.UntypedServiceImplementation);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error === null ? resolve(bound) : reject(error))),
  );
  onTestFinished(() => server.forceShutdown());
  return { url: `http://127.0.0.1:${port}`, port, server };
}

export function grpcClient(port: number, credentials = grpc.credentials.createInsecure()): grpc.Client {
  const client = new grpc.Client(`127.0.0.1:${port}`, credentials);
  onTestFinished(() => client.close());
  return client;
}

export interface Outcome {
  readonly value: string;
  readonly code: grpc.status;
  readonly details: string;
  readonly trailers: grpc.Metadata;
}

export function unary(client: grpc.Client, text: string, options: grpc.CallOptions = {}): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  let value = '';
  const call = client.makeUnaryRequest(
    SERVICE.unary.path,
    same,
    same,
    Buffer.from(text),
    new grpc.Metadata(),
    options,
    (_, answer) => (value = answer?.toString() ?? ''),
  );
  call.on('status', ({ code, details, metadata }) => {
    setImmediate(() => resolve({ value, code, details, trailers: metadata }));
  });
  return promise;
}

/** Everything a readable call brings, and its status. */
export function collect(
  call: grpc.ClientReadableStream<Buffer> | grpc.ClientDuplexStream<Buffer, Buffer>,
): Promise<{ messages: string[]; code: grpc.status; details: string; trailers: grpc.Metadata }> {
  const messages: string[] = [];
  const { promise, resolve } = Promise.withResolvers<Awaited<ReturnType<typeof collect>>>();
  call.on('data', (message: Buffer) => void messages.push(message.toString()));
  call.on('error', () => {});
  call.on('status', ({ code, details, metadata }) => resolve({ messages, code, details, trailers: metadata }));
  return promise;
}

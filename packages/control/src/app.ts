// Composition root of the controller: store → mirror → publisher → routes, in a visible order (conventions.md 1.3).
import { randomBytes } from 'node:crypto';
import { eipPlugin } from '@openclb/eip-ipv6/plugin';
import { ClbError, LIMITS } from '@openclb/model';
import fastify, { type FastifyInstance } from 'fastify';
import { startAcme } from './acme/manager.ts';
import { type Controller, makeController } from './controller.ts';
import { edit } from './desired/draft.ts';
import { KEY } from './desired/keys.ts';
import { type Mirror, openMirror } from './desired/mirror.ts';
import { openSqliteStore } from './desired/sqlite.ts';
import type { Store } from './desired/store.ts';
import { openFragments } from './fragments.ts';
import { type ControllerOptions, DEFAULTS, resolvePools } from './options.ts';
import { type Authority, makeAuthority } from './plugins/auth.ts';
import { addErrors } from './plugins/errors.ts';
import { addOpenapi } from './plugins/openapi.ts';
import { addSchemas } from './plugins/schemas.ts';
import { type Publisher, startPublisher } from './publish.ts';
import { certificateRoutes } from './routes/certificates.ts';
import { configRoutes } from './routes/config.ts';
import { eipService } from './routes/eips.ts';
import { instanceRoutes } from './routes/instances.ts';
import { linkRoutes } from './routes/link.ts';
import { logRoutes } from './routes/logs.ts';
import { listenerRoutes } from './routes/listeners.ts';
import { loadBalancerRoutes } from './routes/load-balancers.ts';
import { nodeRoutes } from './routes/nodes.ts';
import { openTickets, type TicketSource } from './link/tickets.ts';
import { ruleRoutes } from './routes/rules.ts';
import { questionRoutes } from './routes/questions.ts';
import { serviceRoutes } from './routes/services.ts';
import { shadowRoutes } from './routes/shadow.ts';
import { statusRoutes } from './routes/status.ts';
import { targetGroupRoutes } from './routes/target-groups.ts';
import { targetRoutes } from './routes/targets.ts';
import { vpcRoutes } from './routes/vpcs.ts';
import { type StatusBoard, statusBoard } from './status.ts';

declare module 'fastify' {
  interface FastifyInstance {
    controller: Controller;
    publisher: Publisher;
    board: StatusBoard;
    authority: Authority;
    tickets: TicketSource;
  }
}

export async function createController(options: ControllerOptions): Promise<FastifyInstance> {
  const nowMs = options.nowMs ?? Date.now;
  const log = options.log ?? ((): void => {});
  const pools = resolvePools(options.pools);
  const authority = makeAuthority(options.apiKeys, options.joinToken);
  const store = openSqliteStore({ path: options.store, nowMs });
  const mirror = await openMirror(store);
  await ensureClusterSecret(store, mirror);
  const fragments = await openFragments(store, (id) => mirror.get(KEY.loadBalancer(id)) !== undefined, log);
  const publisher = startPublisher({
    mirror,
    fragments,
    nowMs,
    log,
    pools,
    ...(options.ownAddresses === undefined ? {} : { ownAddresses: options.ownAddresses }),
    readyPort: options.readyPort ?? DEFAULTS.readyPort,
    leaseMs: options.leaseMs ?? DEFAULTS.leaseMs,
  });

  const app = fastify({
    bodyLimit: LIMITS.bodyBytesMax,
    forceCloseConnections: true,
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false, allErrors: false } },
  });
  // Response schemas are for OpenAPI. Answers are made by us, and generated serializers would cost most of the start-up time.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.decorate('authority', authority);
  app.decorate('publisher', publisher);
  app.decorate('tickets', await openTickets(store, nowMs));
  app.decorate('board', statusBoard(mirror, publisher, nowMs));
  app.decorate('controller', makeController(store, mirror, pools, nowMs, options.oneBox));
  const acme = startAcme(app.controller, app.board, nowMs, log, options.acme);
  addErrors(app, log);
  addSchemas(app);
  await addOpenapi(app);
  await app.register(apiRoutes, { prefix: '/v1' });
  await app.register(linkRoutes, { prefix: '/link/v1' });
  await app.register(serviceRoutes, { prefix: '/link/v1' });
  app.addHook('preClose', async () => {
    await acme.close();
    publisher.close();
  });
  app.addHook('onClose', async () => {
    await fragments.close();
    mirror.close();
    await store.close();
  });
  return app;
}

/** Made once, by the first controller of a cluster; whoever loses the race takes the other's. */
async function ensureClusterSecret(store: Store, mirror: Mirror): Promise<void> {
  const secret = randomBytes(32).toString('hex');
  await edit(store, mirror, (draft) => {
    if (draft.get<string>(KEY.clusterSecret) === undefined) draft.put(KEY.clusterSecret, secret);
  });
}

async function apiRoutes(app: FastifyInstance): Promise<void> {
  app.addHook('onRequest', async (request) => {
    // Announcers stand beside switches and hold a node's token, not a person's key.
    if (request.routeOptions.url === '/v1/announcements') app.authority.requireKeyOrNode(request);
    else app.authority.requireKey(request);
  });
  app.setNotFoundHandler((request) => {
    throw new ClbError('NoSuchRoute', { method: request.method, path: request.url.split('?')[0] ?? '' });
  });
  await app.register(loadBalancerRoutes);
  await app.register(listenerRoutes);
  await app.register(ruleRoutes);
  await app.register(targetGroupRoutes);
  await app.register(targetRoutes);
  await app.register(certificateRoutes);
  await app.register(vpcRoutes);
  await app.register(instanceRoutes);
  await app.register(nodeRoutes);
  await app.register(eipPlugin, { service: eipService(app.controller) });
  await app.register(configRoutes);
  await app.register(statusRoutes);
  await app.register(questionRoutes);
  await app.register(logRoutes);
  await app.register(shadowRoutes);
}

// Any body at all: an answer of the table, never an internal error, and nothing changes unless the answer says so.
import { ERRORS } from '@openclb/model';
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sampleConfig, startTestController, type TestController } from './cluster.ts';

let controller: TestController;
let routes: { method: 'POST' | 'PUT' | 'PATCH'; path: string }[] = [];
beforeAll(async () => {
  controller = await startTestController();
  await controller.call('PUT', '/config', sampleConfig());
  const { paths } = (await controller.app.inject({ url: '/openapi.json' })).json();
  routes = Object.entries(paths as Record<string, Record<string, object>>).flatMap(([path, methods]) =>
    (['POST', 'PUT', 'PATCH'] as const)
      .filter((method) => method.toLowerCase() in methods)
      .map((method) => ({ method, path: path.replace('/v1', '') })),
  );
});
afterAll(async () => controller.app.close());

const revision = (): number => controller.app.controller.mirror.state.revision;
const isOfTable = (answer: { status: number; body: { code?: string } }): boolean =>
  answer.status < 300 || (answer.status < 500 && (answer.body.code ?? '') in ERRORS);

test('any JSON to any route', async () => {
  expect(routes.length).toBeGreaterThan(20);
  const known = [
    'id',
    'name',
    'vips',
    'port',
    'protocol',
    'targets',
    'loadBalancer',
    'underlay',
    'role',
    'cidrs',
    'addresses',
    'healthCheck',
    'path',
    'domain',
  ];
  const body = fc.oneof(fc.jsonValue(), fc.dictionary(fc.constantFrom(...known), fc.jsonValue()));
  await fc.assert(
    fc.asyncProperty(
      fc.nat(10_000),
      fc.constantFrom('lb-a', '100', 'ld1', '..', '%00', 'x'.repeat(70)),
      body,
      async (index, id, value) => {
        const { method, path } = routes[index % routes.length] ?? { method: 'POST', path: '/vpcs' };
        const before = revision();
        const answer = await controller.call(
          method,
          path.replaceAll(/\{\w+\}/g, encodeURIComponent(id)),
          JSON.stringify(value),
          { 'content-type': 'application/json' },
        );
        expect(isOfTable(answer)).toBe(true);
        expect(answer.status < 300 || revision() === before).toBe(true);
      },
    ),
    { numRuns: 1_500 },
  );
}, 60_000);

test('a good document with some values exchanged for strange ones', async () => {
  const strange = fc.constantFrom<unknown>(
    null,
    0,
    -1,
    70_000,
    '',
    'x',
    '::',
    '100.64.0.1',
    '10.0.0.2',
    '0.0.0.0',
    'lb-a',
    [],
    {},
    true,
    'x'.repeat(200),
    100,
    'ld1',
    '203.0.113.10',
  );
  const changes = fc.array(fc.tuple(fc.nat(10_000), strange), { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(changes, async (list) => {
      const document = sampleConfig();
      for (const [index, value] of list) exchange(document, index, value);
      const before = revision();
      const answer = await controller.call('PUT', '/config', document);
      expect(isOfTable(answer)).toBe(true);
      expect(answer.status < 300 || revision() === before).toBe(true);
      const { loadBalancers } = (await controller.call('GET', '/status')).body;
      expect(loadBalancers.filter(({ compiled }: { compiled: boolean }) => !compiled)).toEqual([]);
    }),
    { numRuns: 400 },
  );
}, 60_000);

/** Puts a value at the place that the index chooses among all members of the document. */
function exchange(document: object, index: number, value: unknown): void {
  const places: { holder: Record<string, unknown>; key: string }[] = [];
  const walk = (holder: Record<string, unknown>): void => {
    for (const [key, member] of Object.entries(holder)) {
      places.push({ holder, key });
      if (typeof member === 'object' && member !== null) walk(member as Record<string, unknown>);
    }
  };
  walk(document as Record<string, unknown>);
  const place = places[index % places.length];
  if (place) place.holder[place.key] = value;
}

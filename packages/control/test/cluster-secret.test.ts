// The secret that directors share (data-plane.md P9): made once, kept in the store, in the images of directors and nowhere else.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DirectorImage, checkImage } from '@openclb/model';
import { afterAll, expect, test } from 'vitest';
import { type TestController, sampleConfig, startTestController } from './cluster.ts';

const directory = mkdtempSync(join(tmpdir(), 'openclb-secret-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const imagesOf = ({ app }: TestController) => app.publisher.compiled().images;
const directorsOf = (controller: TestController): DirectorImage[] =>
  [...imagesOf(controller).values()].filter((image): image is DirectorImage => image.role === 'director');

test('every director has the same secret and the others as its peers, also after the controller was started again', async () => {
  const store = join(directory, 'desired.sqlite');
  const first = await startTestController({ store });
  await first.call('PUT', '/config', sampleConfig());
  await expect.poll(() => directorsOf(first).length).toBe(2);
  const directors = directorsOf(first);
  const [secret, ...more] = new Set(directors.map(({ sync }) => sync?.secret));
  expect(secret).toMatch(/^[0-9a-f]{64}$/);
  expect(more).toEqual([]);
  for (const image of directors) {
    expect(checkImage(image)).toBeNull();
    const others = directors.filter(({ self }) => self.id !== image.self.id);
    expect(image.sync?.peers).toEqual(
      others.map(({ self }) => ({ node: self.id, ordinal: self.ordinal, underlay: self.underlay })),
    );
  }
  const others = [...imagesOf(first).values()].filter(({ role }) => role !== 'director');
  expect(JSON.stringify(others)).not.toContain(secret);
  for (const path of ['/config', '/nodes', '/status']) {
    expect(JSON.stringify(await first.call('GET', path))).not.toContain(secret);
  }
  await first.app.close();
  const second = await startTestController({ store });
  await expect.poll(() => directorsOf(second).length).toBe(2);
  expect(new Set(directorsOf(second).map(({ sync }) => sync?.secret))).toEqual(new Set([secret]));
  await second.app.close();
});

// A controller is killed in the middle of its work, again and again: what it acknowledged is there, and nothing is there by halves.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type RunningClb, startClb } from './clb.ts';

const ROUNDS = 5;
const WRITERS = 4;

interface Answer {
  readonly id: string;
  readonly revision: number;
}
interface Listed {
  readonly items: readonly { readonly id: string; readonly vips: readonly string[] }[];
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'clb-killed-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function startController(): Promise<{ controller: RunningClb; url: string }> {
  const store = join(folder, 'desired.sqlite');
  const words = ['controller', '--listen', '127.0.0.1:0', '--store', store, '--join-token', 'join', '--api-key', 'key'];
  const controller = startClb([...words, '--json']);
  await controller.sees('"event":"ready"');
  return { controller, url: (JSON.parse(controller.stdout().split('\n')[0] ?? '') as { url: string }).url };
}

const headers = { authorization: 'Bearer key', 'content-type': 'application/json' };

/** Creates load balancers in a subnet of its own, one after the other, until the controller is gone; returns what it acknowledged. */
async function writeUntilGone(url: string, subnet: number): Promise<Answer[]> {
  const acknowledged: Answer[] = [];
  for (let number = 1; number < 255; number++) {
    try {
      const name = `${subnet}-${number}`;
      const body = JSON.stringify({ id: `lb-${name}`, name, vips: [`198.18.${subnet}.${number}`] });
      const response = await fetch(`${url}/v1/load-balancers`, { method: 'POST', headers, body });
      if (response.status !== 201) throw new Error(`${response.status}: ${await response.text()}`);
      acknowledged.push((await response.json()) as Answer);
    } catch (error) {
      // A connection that ends is the end that this test makes; a refusal is a fault.
      if (error instanceof TypeError) return acknowledged;
      throw error;
    }
  }
  return acknowledged;
}

async function list(url: string): Promise<Listed['items']> {
  const response = await fetch(`${url}/v1/load-balancers`, { headers });
  return ((await response.json()) as Listed).items;
}

test('every change that a killed controller acknowledged is there after its restart, with its address', async () => {
  const acknowledged: Answer[] = [];
  let cutOff = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const { controller, url } = await startController();
    const writers = Array.from({ length: WRITERS }, (_, writer) => writeUntilGone(url, round * WRITERS + writer));
    await new Promise((resolve) => setTimeout(resolve, 60 + round * 25));
    await controller.stop('SIGKILL');
    const written = await Promise.all(writers);
    cutOff += written.filter((answers) => answers.length > 0).length;
    acknowledged.push(...written.flat());
  }
  const { controller, url } = await startController();
  const there = new Map((await list(url)).map((item) => [item.id, item]));
  await controller.stop('SIGTERM');
  expect(cutOff).toBeGreaterThan(WRITERS);
  expect(acknowledged.filter(({ id }) => !there.has(id))).toEqual([]);
  const vips = [...there.values()].flatMap((item) => item.vips);
  expect(vips).toHaveLength(there.size);
  expect(new Set(vips).size).toBe(vips.length);
  // At most one change a writer and round was under way unanswered.
  expect(there.size - acknowledged.length).toBeLessThanOrEqual(ROUNDS * WRITERS);
  expect(Math.max(...acknowledged.map(({ revision }) => revision))).toBeGreaterThan(0);
}, 60_000);

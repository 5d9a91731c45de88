// The rest of one box: HTTPS with a certificate of the file, a UDP relay, a plugin in TypeScript; and certificates that outlive a controller.
import { createController } from '@openclb/control';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { certificateSource } from '../src/certificates.ts';
import { createLog } from '../src/log.ts';
import { up } from '../src/up/up.ts';
import { followTickets, secretAt } from '../src/tickets.ts';
import { certificate, privateKey } from './certificate.ts';
import { clb, startClb } from './clb.ts';
import { closers, freePort, get, portOf, web } from './servers.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'clb-tls-'));
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  await rm(folder, { recursive: true });
});

const silent = createLog(() => undefined, 'silent', false);

async function getSecure(port: number): Promise<string> {
  const call = request({
    host: '127.0.0.1',
    port,
    path: '/',
    ca: certificate,
    servername: 'www.example.com',
    agent: false,
  }).end();
  const [response] = (await once(call, 'response')) as [NodeJS.ReadableStream];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

test('an HTTPS listener serves with the certificate of its configuration', async () => {
  const port = await freePort();
  const target = { physical: '127.0.0.1', port: portOf(await web('secret')) };
  const box = await up({
    config: {
      certificates: [{ name: 'www', certificate, privateKey }],
      loadBalancers: [
        {
          name: 'a',
          vips: ['127.0.0.1'],
          listeners: [{ protocol: 'HTTPS', port, certificates: ['www'], rules: [{ targets: [target] }] }],
        },
      ],
    },
  });
  closers.push(() => box.close());
  expect(await getSecure(port)).toBe('secret for 127.0.0.1');
});

test('a UDP listener relays datagrams both ways', async () => {
  const target = createSocket('udp4').on('message', (data, from) =>
    target.send(`re: ${data.toString()}`, from.port, from.address),
  );
  target.bind(0, '127.0.0.1');
  await once(target, 'listening');
  closers.push(() => target.close());
  const port = await freePort();
  const box = await up({
    config: {
      loadBalancers: [
        {
          name: 'a',
          vips: ['127.0.0.1'],
          listeners: [{ protocol: 'UDP', port, targets: [{ physical: '127.0.0.1', port: target.address().port }] }],
        },
      ],
    },
  });
  closers.push(() => box.close());
  const client = createSocket('udp4');
  closers.push(() => client.close());
  client.send('hello', port, '127.0.0.1');
  const [answer] = (await once(client, 'message')) as [Buffer];
  expect(answer.toString()).toBe('re: hello');
});

test('a plugin in TypeScript filters the requests of a box, and a file that is no plugin is refused', async () => {
  const port = await freePort();
  const [file, plugin] = [join(folder, 'lb.yaml'), join(folder, 'greet.ts')];
  const target = portOf(await web('one'));
  await writeFile(
    file,
    `loadBalancers: [{ name: a, vips: [127.0.0.1], listeners: [{ protocol: HTTP, port: ${port}, rules: [{ targets: [{ physical: 127.0.0.1, port: ${target} }] }] }] }]\n`,
  );
  await writeFile(
    plugin,
    `enum Path { Hello = '/hello' }
    export default { name: 'greet', setup(api: any) {
      api.add('filter', { name: 'greet', request: (r: { target: string }) => (r.target === Path.Hello ? { status: 200, body: 'hi' } : undefined) });
    } };`,
  );
  const running = startClb(['up', '-f', file, '--plugin', plugin]);
  closers.push(() => running.stop('SIGKILL'));
  await running.sees('ready:');
  expect(await get(port, '/hello')).toBe('hi');
  expect(await get(port)).toBe('one for 127.0.0.1');
  expect((await running.stop()).status).toBe(0);

  await writeFile(plugin, 'export default 5;\n');
  const refused = await clb(['up', '-f', file, '--plugin', plugin]);
  expect(refused.status).toBe(2);
  expect(refused.stderr).toContain('is no plugin');
});

test('an example of the repository is loaded from TypeScript as it is', async () => {
  const port = await freePort();
  const file = join(folder, 'lb.yaml');
  const back = createServer((_, response) => {
    response.writeHead(302, { location: 'http://app-7.internal:8080/next' }).end();
  }).listen(0, '127.0.0.1');
  await once(back, 'listening');
  closers.push(() => back.close());
  const target = portOf(back);
  await writeFile(
    file,
    `loadBalancers: [{ name: a, vips: [127.0.0.1], listeners: [{ protocol: HTTP, port: ${port}, rules: [{ targets: [{ physical: 127.0.0.1, port: ${target} }] }] }] }]\n`,
  );
  const plugin = fileURLToPath(new URL('../../l7/examples/header-rewrite.ts', import.meta.url));
  const running = startClb(['up', '-f', file, '--plugin', plugin]);
  closers.push(() => running.stop('SIGKILL'));
  await running.sees('ready:');
  const answer = await fetch(`http://127.0.0.1:${port}/`, { redirect: 'manual' });
  expect([answer.status, answer.headers.get('location')]).toEqual([302, '/next']);
  expect((await running.stop()).status).toBe(0);
});

test('a proxy keeps the certificates in use sealed on disk and finds them without a controller', async () => {
  const app = await createController({ store: ':memory:', joinToken: 'join', apiKeys: ['key'] });
  closers.push(() => app.close());
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const made = await app.inject({
    method: 'POST',
    url: '/v1/certificates',
    headers: { authorization: 'Bearer key' },
    payload: { name: 'www', certificate, privateKey, ocsp: 'MAMKAQA=' },
  });
  const { id } = made.json<{ id: string }>();
  const options = { id: 'px1', controller: { url, token: 'join' }, stateDir: folder, log: silent };
  const source = await certificateSource(options);
  const expected = { certificate, privateKey, ocsp: Buffer.from('MAMKAQA=', 'base64') };
  expect(await source.find(id)).toEqual(expected);
  expect(await source.find('cert-none')).toBeUndefined();
  const tickets = (await source.tickets())!;
  expect(Buffer.from(tickets.secret, 'base64')).toHaveLength(32);
  await source.close();
  await app.close();

  for (const sealed of await readdir(join(folder, 'px1.certificates'))) {
    const onDisk = await readFile(join(folder, 'px1.certificates', sealed), 'latin1');
    expect(onDisk).not.toMatch(/PRIVATE KEY|secret/);
  }
  const later = await certificateSource(options);
  closers.push(() => later.close());
  expect(await later.find(id)).toEqual(expected);
  expect(await later.tickets()).toEqual(tickets);

  // With another node's key it is noise.
  await writeFile(join(folder, 'px1.key'), Buffer.alloc(32));
  const stranger = await certificateSource(options);
  closers.push(() => stranger.close());
  expect(await stranger.find(id)).toBeUndefined();
});

test('ticket secrets are used on their day, with or without a controller, and never longer', async () => {
  const day = 24 * 60 * 60 * 1000;
  const [secret, next] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const given = { secret: secret.toString('base64'), next: next.toString('base64'), changesAtMs: 10 * day };
  expect(secretAt(given, 9.5 * day)).toEqual(secret);
  expect(secretAt(given, 10.5 * day)).toEqual(next);
  expect([secretAt(given, 11 * day), secretAt(given, 8.9 * day)]).toEqual([null, null]);

  let now = 10 * day - 60;
  const used: Buffer[] = [];
  let answers = 1;
  const following = await followTickets(
    () => Promise.resolve(answers-- > 0 ? given : undefined),
    (given) => used.push(given),
    () => now,
  );
  closers.push(() => following.close());
  expect(used).toEqual([secret]);
  now = 10 * day + 1;
  for (let waited = 0; used.length < 2 && waited < 3000; waited += 10)
    await new Promise((done) => setTimeout(done, 10));
  expect(used).toEqual([secret, next]);
});

// TLS as OpenSSL's own client meets it: key types, versions, ciphers, client certificates, stapling, tickets, live change, 421.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { TlsPolicy } from '@openclb/model';
import { imageOf } from '../src/simple.ts';
import type { CertificatePair } from '../src/tls.ts';
import { CERTIFICATES } from './certificates.ts';
import { get, getAndClose, named, okOrigin, type Origin, Peer, sleep, start, type Started } from './kit.ts';

const hasOpenssl = ((): boolean => {
  try {
    execFileSync('openssl', ['version']);
    return true;
  } catch {
    return false;
  }
})();

let folder = '';
const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
const file = (name: string): string => readFileSync(join(folder, name), 'utf8');
const made: Record<string, CertificatePair> = { ...CERTIFICATES };

/** A key and a certificate; without an issuer it signs itself. */
const issue = (name: string, subject: string, issuer: string | null, extensions: string, key = 'ec'): void => {
  const algorithm =
    key === 'rsa' ? ['-newkey', 'rsa:2048'] : ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  const names = extensions.split(';').flatMap((text) => ['-addext', text]);
  const signer = issuer === null ? [] : ['-CA', `${issuer}.pem`, '-CAkey', `${issuer}.key`];
  openssl(
    'req',
    '-x509',
    ...algorithm,
    '-nodes',
    '-days',
    '3650',
    '-subj',
    subject,
    ...names,
    ...signer,
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.pem`,
  );
};

/** Runs `openssl s_client`, sends `request`, answers all that it printed. */
const client = async (port: number, args: string[], request = getAndClose()): Promise<string> => {
  const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-ign_eof', ...args], { cwd: folder });
  let text = '';
  child.stdout.on('data', (chunk) => (text += chunk));
  child.stderr.on('data', (chunk) => (text += chunk));
  child.stdin.on('error', () => {});
  child.stdin.write(request);
  const timer = setTimeout(() => child.kill(), 3000);
  await new Promise((resolve) => child.once('close', resolve));
  clearTimeout(timer);
  return text;
};

const serve = async (
  ids: readonly string[],
  policy: TlsPolicy = {},
  options = {},
): Promise<Started & { target: Origin }> => {
  const target = await okOrigin();
  const started = await start({
    targets: [target.url],
    certificateIds: [...ids],
    certificates: (id) => made[id],
    ...options,
  });
  await change(started, target, ids, policy);
  return { ...started, target };
};

const change = async ({ proxy }: Started, target: Origin, ids: readonly string[], policy: TlsPolicy): Promise<void> => {
  const image = await imageOf({ listen: 0, targets: [target.url], certificateIds: [...ids] });
  image.listeners = image.listeners.map((listener) => ({ ...listener, tls: policy }));
  await proxy.apply(image);
};

const reasons = ({ proxy }: Started): Record<string, number> => proxy.counters().failures;
const OLD = ['-cipher', 'ALL:@SECLEVEL=0'];

// Debian's openssl makes the certificates and is the client.
describe.skipIf(!hasOpenssl)('TLS policy', () => {
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'clb-tls-'));
    const authority = 'basicConstraints=critical,CA:TRUE;keyUsage=critical,keyCertSign,cRLSign,digitalSignature';
    issue('ca', '/CN=Test CA', null, authority);
    issue('middle', '/CN=Middle CA', 'ca', authority);
    issue('deep', '/CN=Deep CA', 'middle', authority);
    issue('rsa', '/CN=a.test', null, 'subjectAltName=DNS:a.test', 'rsa');
    issue('stapled', '/CN=s.test', 'ca', 'subjectAltName=DNS:s.test;basicConstraints=critical,CA:FALSE');
    const leaf = 'basicConstraints=critical,CA:FALSE';
    issue('alice', '/O=Ünïcode, Inc/CN=alice', 'ca', leaf);
    issue('bob', '/CN=bob', 'middle', leaf);
    issue('carol', '/CN=carol', 'deep', leaf);
    issue('mallory', '/CN=mallory', null, leaf);
    writeFileSync(join(folder, 'deeper.pem'), file('deep.pem') + file('middle.pem'));
    made['rsa'] = { certificate: file('rsa.pem'), privateKey: file('rsa.key') };
    const serial = execFileSync('openssl', ['x509', '-in', 'stapled.pem', '-noout', '-serial'], { cwd: folder })
      .toString()
      .trim()
      .slice(7);
    writeFileSync(join(folder, 'index.txt'), `V\t361119000000Z\t\t${serial}\tunknown\t/CN=s.test\n`);
    openssl('ocsp', '-issuer', 'ca.pem', '-cert', 'stapled.pem', '-reqout', 'request.der', '-no_nonce');
    openssl(
      'ocsp',
      '-index',
      'index.txt',
      '-rsigner',
      'ca.pem',
      '-rkey',
      'ca.key',
      '-CA',
      'ca.pem',
      '-reqin',
      'request.der',
      '-respout',
      'response.der',
      '-ndays',
      '3000',
    );
    made['stapled'] = {
      certificate: file('stapled.pem'),
      privateKey: file('stapled.key'),
      ocsp: readFileSync(join(folder, 'response.der')),
    };
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('gives a client the key type it can verify, RSA or ECC, for one name', async () => {
    const { port } = await serve(['a.test', 'rsa']);
    for (const version of ['-tls1_2', '-tls1_3']) {
      const name = ['-servername', 'a.test', version];
      expect(await client(port, [...name, '-sigalgs', 'RSA-PSS+SHA256:RSA+SHA256'])).toMatch(
        /Peer signature type: RSA/,
      );
      expect(await client(port, [...name, '-sigalgs', 'ECDSA+SHA256'])).toMatch(/Peer signature type: ECDSA/);
    }
  });

  test('speaks 1.2 and 1.3 unless told otherwise and counts why others got nothing', async () => {
    const started = await serve(['a.test']);
    expect(await client(started.port, ['-tls1_2'])).toContain('200 OK');
    expect(await client(started.port, ['-tls1_3'])).toContain('200 OK');
    expect(await client(started.port, ['-tls1', ...OLD])).not.toContain('200 OK');
    expect(await client(started.port, ['-tls1_1', ...OLD])).not.toContain('200 OK');
    expect(reasons(started)['tls-version']).toBe(2);
  });

  test('speaks 1.0 and 1.1 where the policy says so, and no 1.3 where it does not', async () => {
    const started = await serve(['rsa'], { minVersion: 'TLSv1', maxVersion: 'TLSv1.2' });
    expect(await client(started.port, ['-tls1', ...OLD])).toMatch(/TLSv1\b[^]*200 OK/);
    expect(await client(started.port, ['-tls1_1', ...OLD])).toMatch(/TLSv1\.1[^]*200 OK/);
    expect(await client(started.port, ['-tls1_2'])).toContain('200 OK');
    expect(await client(started.port, ['-tls1_3'])).not.toContain('200 OK');
    expect(reasons(started)['tls-version']).toBe(1);
  });

  test('refuses SSL 3 and SPDY with their reasons', async () => {
    const started = await serve(['rsa'], { minVersion: 'TLSv1' });
    const hello = Buffer.concat([
      Buffer.from([0x16, 3, 0, 0, 45, 1, 0, 0, 41, 3, 0]),
      Buffer.alloc(32, 7),
      Buffer.from([0, 0, 2, 0, 0x2f, 1, 0]),
    ]);
    const old = await started.client();
    old.write(hello);
    await old.ended();
    expect(reasons(started)['tls-version']).toBe(1);
    expect(await client(started.port, ['-alpn', 'spdy/3.1'])).not.toContain('200 OK');
    expect(reasons(started)['tls-alpn']).toBe(1);
  });

  test('offers the ciphers of the policy alone', async () => {
    const started = await serve(['a.test'], { ciphers: 'ECDHE-ECDSA-AES256-GCM-SHA384', maxVersion: 'TLSv1.2' });
    expect(await client(started.port, ['-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256'])).not.toContain('200 OK');
    expect(await client(started.port, [])).toMatch(/ECDHE-ECDSA-AES256-GCM-SHA384[^]*200 OK/);
    expect(reasons(started)['tls-cipher']).toBe(1);
    await expect(serve(['a.test'], { ciphers: 'NO-SUCH-CIPHER' })).rejects.toThrow(/TLS cannot be set up/);
    await expect(serve(['a.test'], { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.2' })).rejects.toThrow(/minVersion/);
  });

  const as = (name: string, ...more: string[]): string[] => ['-cert', `${name}.pem`, '-key', `${name}.key`, ...more];

  test('demands a client certificate and tells the target who it was, whatever the client claims', async () => {
    const started = await serve(['a.test'], { verifyClient: 'on', clientAuthority: file('ca.pem') });
    for (const version of ['-tls1_2', '-tls1_3']) {
      expect(await client(started.port, [version])).not.toContain('200 OK');
      expect(await client(started.port, as('mallory', version))).not.toContain('200 OK');
    }
    expect(started.target.peers).toHaveLength(0);
    expect(reasons(started)).toMatchObject({
      'tls-client-certificate-missing': 2,
      'tls-client-certificate-refused': 2,
    });
    const forged = getAndClose(
      '/',
      'X-Client-Verify: SUCCESS\r\nx_client_cert_subject: CN=root\r\nX-Client-Cert-Subject: CN=root\r\n',
    );
    expect(await client(started.port, as('alice'), forged)).toContain('200 OK');
    const head = started.target.peers[0]!.text;
    expect(head).toMatch(/X-Client-Verify: SUCCESS\r\n/);
    expect(head).toMatch(/X-Client-Cert-Subject: O=[%A-F0-9A-Za-z ]*%2C Inc,CN=alice\r\n/);
    expect(head).toMatch(
      /X-Client-Cert-Issuer: CN=Test CA\r\nX-Client-Cert-Serial: [0-9A-F]+\r\nX-Client-Cert-Fingerprint: [0-9a-f]{64}\r\n/,
    );
    expect(head.match(/x.client.verify/gi)).toHaveLength(1);
    expect(head).not.toContain('CN=root');
  });

  test('lets a client without a certificate in where it is optional, one with a bad certificate never', async () => {
    const started = await serve(['a.test'], { verifyClient: 'optional', clientAuthority: file('ca.pem') });
    expect(await client(started.port, [])).toContain('200 OK');
    expect(started.target.peers[0]!.text).toMatch(/X-Client-Verify: NONE\r\n/);
    expect(await client(started.port, as('mallory'))).not.toContain('200 OK');
    expect(await client(started.port, as('alice'))).toContain('200 OK');
    expect(reasons(started)['tls-client-certificate-refused']).toBe(1);
  });

  test('holds the chain to the depth of the policy', async () => {
    const started = await serve(['a.test'], { verifyClient: 'on', clientAuthority: file('ca.pem') });
    expect(await client(started.port, as('bob', '-cert_chain', 'middle.pem'))).toContain('200 OK');
    const deep = as('carol', '-cert_chain', 'deeper.pem');
    expect(await client(started.port, deep)).not.toContain('200 OK');
    expect(reasons(started)['tls-client-certificate-refused']).toBe(1);
    await change(started, started.target, ['a.test'], {
      verifyClient: 'on',
      clientAuthority: file('ca.pem'),
      verifyDepth: 2,
    });
    expect(await client(started.port, deep)).toContain('200 OK');
  });

  test('says nothing of a certificate where nobody asked for one, whatever the client writes', async () => {
    const started = await serve(['a.test']);
    await client(started.port, as('alice'), getAndClose('/', 'X-Client-Verify: SUCCESS\r\n'));
    expect(started.target.peers[0]!.text).not.toMatch(/x-client-verify/i);
  });

  test('staples the OCSP response that came with a certificate', async () => {
    const { port } = await serve(['a.test', 'stapled']);
    expect(await client(port, ['-servername', 's.test', '-status'])).toMatch(
      /OCSP Response Status: successful[^]*Cert Status: good/,
    );
    expect(await client(port, ['-servername', 'a.test', '-status'])).toContain('OCSP response: no response sent');
  });

  test.each(['-tls1_2', '-tls1_3'])(
    'resumes a session on any node that shares the ticket secret (%s)',
    async (version) => {
      const ticketSecret = Buffer.alloc(32, 1);
      const [one, two] = [await serve(['a.test'], {}, { ticketSecret }), await serve(['a.test'], {}, { ticketSecret })];
      const other = await serve(['a.test'], {}, { ticketSecret: Buffer.alloc(32, 2) });
      const saved = join(folder, `session${version}`);
      expect(await client(one.port, [version, '-servername', 'a.test', '-sess_out', saved])).toMatch(/New, TLS/);
      const again = [version, '-servername', 'a.test', '-sess_in', saved];
      expect(await client(two.port, again)).toMatch(/Reused, TLS[^]*200 OK/);
      expect(await client(other.port, again)).toMatch(/New, TLS[^]*200 OK/);
    },
  );

  test('forgets tickets of an earlier period and resumes those of the new one', async () => {
    const { port } = await serve(['a.test'], {}, { ticketSecret: Buffer.alloc(32, 1), ticketPeriodMs: 1000 });
    await sleep(1020 - (Date.now() % 1000));
    const saved = join(folder, 'period');
    const again = ['-tls1_2', '-sess_in', saved];
    await client(port, ['-tls1_2', '-sess_out', saved]);
    expect(await client(port, again)).toMatch(/Reused, TLS/);
    await sleep(1020 - (Date.now() % 1000));
    expect(await client(port, again)).toMatch(/New, TLS[^]*200 OK/);
  });

  test('takes no early data', async () => {
    const { port } = await serve(['a.test']);
    const saved = join(folder, 'early');
    writeFileSync(join(folder, 'early.txt'), getAndClose('/early'));
    await client(port, ['-tls1_3', '-sess_out', saved]);
    expect(await client(port, ['-tls1_3', '-sess_in', saved, '-early_data', 'early.txt'])).toMatch(
      /Max Early Data: 0|Early data was (?:not sent|rejected)/,
    );
  });

  const open = async (port: number, servername: string): Promise<{ peer: Peer; name: string }> => {
    const socket = tls.connect({
      port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ...(servername === '' ? {} : { servername }),
    });
    const peer = new Peer(socket);
    await new Promise((resolve) => socket.once('secureConnect', resolve));
    onTestFinished(() => void socket.destroy());
    return { peer, name: String(socket.getPeerCertificate().subject.CN) };
  };

  test('changes certificates without touching a connection', async () => {
    const started = await serve(['a.test']);
    const before = await open(started.port, '');
    await change(started, started.target, ['*.b.test'], {});
    expect((await open(started.port, '')).name).toBe('*.b.test');
    before.peer.write(get());
    await before.peer.has('ok');
    expect(before.name).toBe('a.test');
  });

  test('answers 421 to a host of another certificate, and serves those that are where they belong', async () => {
    const target = await named('here');
    const { port } = await start({
      targets: [target.url],
      certificateIds: ['a.test', '*.b.test'],
      certificates: (id) => made[id],
    });
    const ask = async (servername: string, host: string): Promise<string> => {
      const { peer } = await open(port, servername);
      peer.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      await peer.ended();
      return peer.text.slice(9, 12);
    };
    expect(await ask('a.test', 'x.b.test')).toBe('421');
    expect(await ask('x.b.test', 'A.test:443')).toBe('421');
    expect(await ask('nobody.test', 'x.b.test')).toBe('421');
    expect(await ask('a.test', 'A.TEST:8443')).toBe('200');
    expect(await ask('x.b.test', 'y.b.test')).toBe('200');
    expect(await ask('x.b.test', 'default.test')).toBe('200');
    expect(await ask('nobody.test', 'a.test')).toBe('200');
    expect(await ask('', 'x.b.test')).toBe('200');
    expect(await ask('', '127.0.0.1')).toBe('200');
  });
});

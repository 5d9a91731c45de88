// Every form of request that two parsers may read in two ways is refused, and no byte of it reaches a target (layer7.md 5, 1–6).
import { describe, expect, test } from 'vitest';
import { okOrigin, start, statusOf, getAndClose } from './kit.ts';

const post = (fields: string, body = ''): string => `POST / HTTP/1.1\r\nHost: a.test\r\n${fields}\r\n${body}`;

const REFUSED: readonly (readonly [name: string, bytes: string, status: number])[] = [
  ['length and coding together', post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'), 400],
  ['coding and length together', post('Transfer-Encoding: chunked\r\nContent-Length: 5\r\n', '0\r\n\r\n'), 400],
  ['two lengths that differ', post('Content-Length: 5\r\nContent-Length: 6\r\n', 'hello'), 400],
  ['two lengths that agree', post('Content-Length: 5\r\nContent-Length: 5\r\n', 'hello'), 400],
  ['a length list', post('Content-Length: 5, 5\r\n', 'hello'), 400],
  ['a signed length', post('Content-Length: +5\r\n', 'hello'), 400],
  ['a negative length', post('Content-Length: -5\r\n', 'hello'), 400],
  ['a hex length', post('Content-Length: 0x5\r\n', 'hello'), 400],
  ['an empty length', post('Content-Length:\r\n', 'hello'), 400],
  ['a length with a space inside', post('Content-Length: 1 0\r\n', 'hello'), 400],
  ['a length beyond 2^53', post('Content-Length: 9007199254740993\r\n', 'hello'), 400],
  ['an unknown coding', post('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'), 501],
  ['chunked not last', post('Transfer-Encoding: chunked, identity\r\n', '0\r\n\r\n'), 501],
  ['chunked behind a comma', post('Transfer-Encoding: ,chunked\r\n', '0\r\n\r\n'), 501],
  ['chunked before a tab', post('Transfer-Encoding: chunked \t\r\n', '0\r\n\r\n'), 501],
  ['chunked in quotes', post('Transfer-Encoding: "chunked"\r\n', '0\r\n\r\n'), 501],
  ['chunked behind a vertical tab', post('Transfer-Encoding: \x0bchunked\r\n', '0\r\n\r\n'), 400],
  ['chunked twice', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'), 400],
  ['gzip, then chunked', post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n'), 501],
  ['identity', post('Transfer-Encoding: identity\r\n', ''), 501],
  ['a coding in HTTP/1.0', 'POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400],
  ['a space before the colon', post('Content-Length : 5\r\n', 'hello'), 400],
  ['a tab before the colon', post('Transfer-Encoding\t: chunked\r\n', '0\r\n\r\n'), 400],
  ['a folded field', post('X-A: b\r\n c\r\n'), 400],
  ['a field that begins with a tab', post('\tX-A: b\r\n'), 400],
  ['a field without a name', post(': b\r\n'), 400],
  ['a field without a colon', post('Oops\r\n'), 400],
  ['a bare LF in a field', 'GET / HTTP/1.1\r\nHost: a.test\nX-A: b\r\n\r\n', 400],
  ['a bare LF after the request line', 'GET / HTTP/1.1\nHost: a.test\r\n\r\n', 400],
  ['only LFs', 'GET / HTTP/1.1\nHost: a.test\n\n', 400],
  ['a bare CR in a value', post('X-A: b\rc\r\n'), 400],
  ['a NUL in a value', post('X-A: b\0c\r\n'), 400],
  ['a NUL in a name', post('X\0A: b\r\n'), 400],
  ['a DEL in a value', post('X-A: b\x7fc\r\n'), 400],
  ['no host', 'GET / HTTP/1.1\r\n\r\n', 400],
  ['two hosts', 'GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n', 400],
  ['an empty host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n', 400],
  ['a host with a space', 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n', 400],
  ['a host with a slash', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400],
  ['a host with user information', 'GET / HTTP/1.1\r\nHost: u@a.test\r\n\r\n', 400],
  ['a host with a bad port', 'GET / HTTP/1.1\r\nHost: a.test:8x\r\n\r\n', 400],
  ['a method with a bracket', 'G(T / HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  ['no method', ' / HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  ['a method in lower case', 'get / HTTP/1.1\r\nHost: a.test\r\n\r\n', 501],
  ['an unknown method', 'FROB / HTTP/1.1\r\nHost: a.test\r\n\r\n', 501],
  ['CONNECT', 'CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n', 405],
  ['TRACE', 'TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n', 405],
  ['two spaces before the target', 'GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  ['two spaces after the target', 'GET /  HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  ['a tab as separator', 'GET\t/ HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  ['a target without a slash', 'GET a HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  ['a target with a fragment', 'GET /a#b HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  ['a target with a raw high byte', 'GET /\xe9 HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  ['a target with a control byte', 'GET /\x01 HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  ['an asterisk for GET', 'GET * HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  ['an absolute target of another scheme', 'GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  ['an absolute target with user information', 'GET http://u@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  ['no version', 'GET /\r\nHost: a.test\r\n\r\n', 400],
  ['version 2.0', 'GET / HTTP/2.0\r\nHost: a.test\r\n\r\n', 505],
  ['version 1.2', 'GET / HTTP/1.2\r\nHost: a.test\r\n\r\n', 505],
  ['version in lower case', 'GET / http/1.1\r\nHost: a.test\r\n\r\n', 400],
  ['another protocol', 'GET / HTCPCP/1.1\r\nHost: a.test\r\n\r\n', 400],
  ['what only begins like HTTP/2', 'PRI * HTTP/2.0\r\nHost: a\r\n\r\n', 505],
  ['an unknown expectation', post('Expect: tea\r\nContent-Length: 1\r\n', 'x'), 417],
  ['a head of 40 KiB', `GET / HTTP/1.1\r\nHost: a.test\r\nX-A: ${'x'.repeat(40 * 1024)}\r\n\r\n`, 431],
  ['a Connection that names 40 fields', post(`Connection: ${'x, '.repeat(40)}y\r\n`), 431],
  ['200 fields', `GET / HTTP/1.1\r\nHost: a.test\r\n${'X-A: b\r\n'.repeat(200)}\r\n`, 431],
  ['a target of 20 KiB', `GET /${'x'.repeat(20 * 1024)} HTTP/1.1\r\nHost: a.test\r\n\r\n`, 414],
  ['TLS on a plain port', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
];

describe('a request that could be read in two ways is refused', () => {
  for (const [name, bytes, status] of REFUSED) {
    test(`${name}`, async () => {
      const target = await okOrigin();
      const { ask } = await start({ targets: [target.url] });
      const response = await ask(bytes);
      expect(response).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
      expect(response).toContain('\r\nConnection: close\r\n');
      // One answer, and nothing behind it is read as another request.
      expect(response.match(/HTTP\/1\.1 /g)).toHaveLength(1);
      expect(target.peers).toHaveLength(0);
    });
  }
});

const BAD_CHUNKS: readonly (readonly [string, string])[] = [
  ['a size with 0x', '0x3\r\nabc\r\n0\r\n\r\n'],
  ['a signed size', '+3\r\nabc\r\n0\r\n\r\n'],
  ['an empty size', '\r\nabc\r\n0\r\n\r\n'],
  ['a size with a space', '3 \r\nabc\r\n0\r\n\r\n'],
  ['a space before the size', ' 3\r\nabc\r\n0\r\n\r\n'],
  ['a size of 17 digits', '00000000000000003\r\nabc\r\n0\r\n\r\n'],
  ['an LF behind the size', '3\nabc\r\n0\r\n\r\n'],
  ['an LF behind the data', '3\r\nabc\n0\r\n\r\n'],
  ['more data than the size says', '3\r\nabcd\r\n0\r\n\r\n'],
  ['a bare LF in an extension', '3;a\nb\r\nabc\r\n0\r\n\r\n'],
  ['a bare CR in an extension', '3;a\rb\r\nabc\r\n0\r\n\r\n'],
  ['a bad trailer', '3\r\nabc\r\n0\r\noops\r\n\r\n'],
  ['a length in the trailer', '3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n'],
  ['a folded trailer', '3\r\nabc\r\n0\r\nX-A: b\r\n c\r\n\r\n'],
  ['an LF at the end', '3\r\nabc\r\n0\r\n\n'],
];

describe('a chunked body that could be read in two ways ends the exchange', () => {
  for (const [name, body] of BAD_CHUNKS) {
    test(`${name}`, async () => {
      const target = await okOrigin();
      const { ask } = await start({ targets: [target.url] });
      const response = await ask(`POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n${body}`);
      expect(response).toMatch(/^HTTP\/1\.1 400 /);
      expect(response.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    });
  }
});

test('a head that comes byte by byte is read, and refused as soon as it is wrong', async () => {
  const target = await okOrigin();
  const { client } = await start({ targets: [target.url] });
  const slow = await client();
  for (const byte of getAndClose()) slow.write(byte);
  await slow.ended();
  expect(statusOf(slow.text)).toBe(200);
  const wrong = await client();
  for (const byte of 'GET / HTTP/1.1\r\nHost: a.test\n\n') wrong.write(byte);
  await wrong.ended();
  expect(statusOf(wrong.text)).toBe(400);
});

test('one empty line before a request is ignored, two are not', async () => {
  const target = await okOrigin();
  const { ask } = await start({ targets: [target.url] });
  expect(statusOf(await ask(`\r\n${getAndClose()}`))).toBe(200);
  expect(statusOf(await ask(`\r\n\r\n${getAndClose()}`))).toBe(400);
});

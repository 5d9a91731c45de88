// Personalised configs: the whole whitelist with its ranges (tencent-cloud.md E4), and mistakes told with line and column.
import { expect, test } from 'vitest';
import { mergeCustomConfig, parseCustomConfig } from './custom-config.ts';
import { CUSTOM_DIRECTIVES } from './custom-directives.ts';

const WHOLE = `# everything at once
#! customized_conf_begin;
ssl_protocols TLSv1 TLSv1.1 TLSv1.2;\r
ssl_ciphers "ECDHE-RSA-AES128-GCM-SHA256:!RC4";
ssl_verify_depth 3; ssl_early_data off;
client_header_timeout 30s; client_header_buffer_size 256k; client_body_timeout 2m;
client_max_body_size 10240M; proxy_request_buffering off;
keepalive_timeout 0; keepalive_requests 10000; send_timeout 3600;
proxy_connect_timeout 4; proxy_read_timeout 1h; proxy_send_timeout 30;
proxy_buffer_size 8k; proxy_buffers 8 8k;
proxy_redirect http:// https://;
proxy_set_header x-real-port $remote_port;
add_header 'X-A' "a;b # no comment" always; more_set_headers "X-B: 1" "X-C: 2";
server_tokens on; http2_max_field_size 16k; error_page 404 500 =301 /lost.html;
`;

test('every directive of the whitelist is read', () => {
  const { config, tls } = parseCustomConfig(WHOLE);
  expect(Object.keys(CUSTOM_DIRECTIVES).filter((name) => !WHOLE.includes(name))).toEqual([]);
  expect(tls).toEqual({
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.2',
    ciphers: 'ECDHE-RSA-AES128-GCM-SHA256:!RC4',
    verifyDepth: 3,
  });
  expect(config).toEqual({
    headTimeoutMs: 30_000,
    headBytesMax: 262_144,
    bodyTimeoutMs: 120_000,
    bodyBytesMax: 10_737_418_240,
    buffersRequest: false,
    keepAliveTimeoutMs: 0,
    requestsPerConnectionMax: 10_000,
    sendTimeoutMs: 3_600_000,
    connectTimeoutMs: 4000,
    readTimeoutMs: 3_600_000,
    requestTimeoutMs: 30_000,
    responseHeadBytesMax: 8192,
    redirectsToHttps: true,
    requestHeaders: [{ name: 'X-Real-Port', value: '$remote_port' }],
    addedHeaders: [{ name: 'X-A', value: 'a;b # no comment', always: true }],
    setHeaders: [
      { name: 'X-B', value: '1' },
      { name: 'X-C', value: '2' },
    ],
    serverTokens: true,
    h2FieldBytesMax: 16_384,
    errorPages: [{ codes: [404, 500], status: 301, location: '/lost.html' }],
  });
});

test.each([
  ['root /etc;', 1, 1, 'root is not allowed here'],
  ['send_timeout 60;\n  lua_code x;', 2, 3, 'lua_code is not allowed here'],
  ['send_timeout 60', 1, 1, 'send_timeout is not ended by a ;'],
  ['send_timeout;', 1, 1, 'needs a value'],
  ['send_timeout 1 2;', 1, 16, 'takes one value'],
  [';', 1, 1, 'a ; without a directive'],
  ['send_timeout 3601;', 1, 14, 'not between 1s and 3600s'],
  ['send_timeout soon;', 1, 14, 'is no time'],
  ['send_timeout 5; send_timeout 6;', 1, 17, 'here twice; it was on line 1'],
  ['client_header_timeout 29;', 1, 23, 'not between 30s and 120s'],
  ['client_header_timeout 121;', 1, 23, 'not between 30s and 120s'],
  ['client_body_timeout 121s;', 1, 21, 'not between'],
  ['client_header_buffer_size 257k;', 1, 27, 'not between 1k and 256k'],
  ['client_max_body_size 0;', 1, 22, 'not between 1m and 10240m'],
  ['client_max_body_size 10241m;', 1, 22, 'not between'],
  ['client_max_body_size 257m;', 1, 1, 'above 256M needs proxy_request_buffering off'],
  ['keepalive_timeout 3601;', 1, 19, 'not between 0s and 3600s'],
  ['keepalive_requests 10001;', 1, 20, 'whole number from 1 to 10000'],
  ['proxy_connect_timeout 3;', 1, 23, 'not between 4s and 120s'],
  ['proxy_read_timeout 29;', 1, 20, 'not between 30s and 3600s'],
  ['proxy_send_timeout 29;', 1, 20, 'not between 30s and 3600s'],
  ['proxy_buffer_size 65k;', 1, 19, 'not between 1k and 64k'],
  ['proxy_buffers 2 4k;', 1, 15, 'whole number from 3 to 8'],
  ['proxy_buffers 8 9k;', 1, 17, 'not between 4k and 8k'],
  ['proxy_buffer_size 16k;', 1, 1, '2 × max(proxy_buffer_size, proxy_buffers size) is 32768 bytes'],
  ['\nproxy_buffers 3 8k;\nproxy_buffer_size 64k;', 2, 1, 'must not exceed (proxy_buffers number − 1) × size, 16384'],
  ['server_tokens yes;', 1, 15, 'neither on nor off'],
  ['ssl_protocols SSLv3 TLSv1;', 1, 15, 'SSLv3 is broken'],
  ['ssl_protocols TLSv1 TLSv1.2;', 1, 1, 'TLSv1.1 is missing between'],
  ['ssl_verify_depth 11;', 1, 18, 'whole number from 1 to 10'],
  ['ssl_ciphers "a b";', 1, 13, 'no OpenSSL cipher list'],
  ['proxy_redirect off;', 1, 16, 'only proxy_redirect http:// https://'],
  ['proxy_set_header Host a.test;', 1, 18, 'Host may not be set'],
  ['proxy_set_header X-Uri $host;', 1, 24, 'X-Uri may be $uri'],
  ['add_header Connection close;', 1, 12, 'written by the proxy itself'],
  ['add_header X-A $secret;', 1, 12, '$secret is no variable'],
  ['more_set_headers -s 404 "A: b";', 1, 18, 'is not "name: value"'],
  ['error_page 404 =200 /x;', 1, 16, 'is none of =301'],
  ['error_page 302 /x;', 1, 12, 'whole number from 400 to 599'],
  ['error_page 404 http://b.test/;', 1, 16, 'is no URI'],
  ['error_page 404 //b.test/;', 1, 16, 'is no URI'],
  ['location / {', 1, 12, 'blocks are not allowed'],
  ['add_header X-A "a', 1, 16, 'never closed on its line'],
  ['add_header X-A "a"b;', 1, 19, 'a blank or ; belongs behind'],
  ['add_header X-Ä a;', 1, 12, 'is not plain ASCII'],
])('%j is refused at line %i, column %i', (text, line, column, reason) => {
  let problem: unknown;
  try {
    parseCustomConfig(text);
  } catch (error) {
    problem = error;
  }
  expect(problem).toMatchObject({ line, column, message: expect.stringContaining(reason) });
});

test('a listener says more than its load balancer, directive by directive', () => {
  const outer = parseCustomConfig('send_timeout 5; add_header X-A 1; ssl_protocols TLSv1.2;');
  const inner = parseCustomConfig('send_timeout 7; ssl_verify_depth 2;');
  expect(mergeCustomConfig(outer, inner)).toEqual({
    config: { sendTimeoutMs: 7000, addedHeaders: [{ name: 'X-A', value: '1', always: false }] },
    tls: { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2', verifyDepth: 2 },
  });
});

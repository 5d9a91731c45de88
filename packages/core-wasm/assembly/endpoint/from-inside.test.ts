// What this machine's own kernel sends into the inside device: a proxy towards VPCs (P21), a physical server's answers (P23).
import { expect, test } from 'vitest';
import { ethernet, gre, ipPacket, tcp } from '../../../../tools/testkit/build.ts';
import { destinationIs, expectIpv4, innerIs, keyIs, sourceIs } from '../../../../tools/testkit/expect.ts';
import { parseFrame } from '../../../../tools/testkit/parse.ts';
import {
  CLIENT,
  type EndpointFixtureOptions,
  type EndpointUnderTest,
  HOST1,
  HOST2,
  INSIDE_MAC,
  INSIDE_PORT,
  T2,
  bytes16,
  endpoint,
  fromUnderlay,
  mac,
} from '../../test/endpoint-fixture.ts';

const node = (options: EndpointFixtureOptions = {}): Promise<EndpointUnderTest> =>
  endpoint({
    ...options,
    entries: [
      { kind: 'Source', address: bytes16('100.112.0.1'), link: 100 },
      { kind: 'Source', address: bytes16('100.112.0.2'), link: 200 },
      { kind: 'Place', net: 200, address: bytes16('10.0.0.3'), value: bytes16('10.255.0.13') },
      { kind: 'Physical', address: bytes16(HOST1) },
    ],
    tables: { inside: { port: INSIDE_PORT, mac: mac(INSIDE_MAC) } },
  });

test('the source address names the VPC: one VM address, two hosts', async () => {
  const { send } = await node();
  const out = (source: string): Buffer => send(INSIDE_PORT, ipPacket(source, '10.0.0.3', tcp())).frame;
  expectIpv4(
    out('100.112.0.1'),
    sourceIs(HOST1),
    destinationIs(HOST2),
    keyIs(100),
    innerIs(sourceIs('100.112.0.1'), destinationIs('10.0.0.3')),
  );
  expectIpv4(out('100.112.0.2'), destinationIs('10.255.0.13'), keyIs(200));
});

test('an address that no map row names has no way out', async () => {
  const { send } = await node();
  expect(send(INSIDE_PORT, ipPacket('100.112.0.1', '10.0.0.9', tcp()))).toMatchObject({
    verdict: 'Drop',
    reason: 'NoWayOut',
  });
});

test('a server answers a client of the VIP through the director and a direct user directly', async () => {
  const { send } = await node();
  const request = ipPacket(CLIENT, HOST1, tcp({ sourcePort: 40000, destinationPort: 8080 }));
  expect(send(0, fromUnderlay(ipPacket(T2, HOST1, { protocol: 4, bytes: request }))).portOut).toBe(INSIDE_PORT);
  const answer = (port: number): Buffer =>
    ipPacket(HOST1, CLIENT, tcp({ sourcePort: 8080, destinationPort: port, flags: 'SA' }));
  const tunnelled = send(INSIDE_PORT, answer(40000));
  expect(parseFrame(tunnelled.frame).ip).toMatchObject({ source: HOST1, destination: T2, protocol: 4 });
  expectIpv4(tunnelled.frame, innerIs(sourceIs(HOST1), destinationIs(CLIENT)));
  const direct = send(INSIDE_PORT, answer(40001));
  expect(direct).toMatchObject({ verdict: 'Forward', portOut: 0 });
  expect(direct.frame.subarray(14).equals(answer(40001))).toBe(true);
});

test('an inside device with link headers works alike and answers ARP', async () => {
  const { send } = await node({ insideLink: 'ethernet' });
  const out = send(INSIDE_PORT, ethernet(INSIDE_MAC, INSIDE_MAC, ipPacket('100.112.0.1', '10.0.0.3', tcp())));
  expectIpv4(out.frame, destinationIs(HOST2), keyIs(100));
  const reply = ipPacket('10.0.0.3', '100.112.0.1', tcp({ flags: 'SA' }));
  const back = send(0, fromUnderlay(ipPacket(HOST2, HOST1, gre(100, reply))));
  expect(back).toMatchObject({ verdict: 'Forward', portOut: INSIDE_PORT });
  expect(parseFrame(back.frame).destinationMac).toBe(INSIDE_MAC);
});

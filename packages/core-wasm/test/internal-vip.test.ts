// VIPs inside a VPC (data-plane.md P30): the client is a VM, its packets come through its host's tunnel and so must all answers.
import { describe, expect, test } from 'vitest';
import { gre, ipPacket, tcp } from '../../../tools/testkit/build.ts';
import { destinationIs, expectIpv4, innerIs, keyIs, portsAre, sourceIs } from '../../../tools/testkit/expect.ts';
import { HOST1, HOST2, T1, TABLES, VM_A1, VM_A2, director, id } from './director-fixture.ts';

const INNER_VIP = '10.0.0.100';
const CLIENT_VM = '10.0.0.50';
const base = TABLES.listeners[0]!;
const tables = {
  ...TABLES,
  vips: [...TABLES.vips, { net: 100, address: INNER_VIP }],
  listeners: [
    ...TABLES.listeners,
    { ...base, id: id('inner'), net: 100, vip: INNER_VIP, vport: 80, group: id('gboth') },
  ],
};

async function inside() {
  const under = await director({ withoutImage: true });
  under.apply(tables);
  const from = (host: string, packet: Buffer, net = 100) => under.receive(ipPacket(host, T1, gre(net, packet)));
  return { ...under, from };
}

describe('an internal VIP', () => {
  test('a VM is balanced to a target of its VPC, and the reply goes back to the host of the VM', async () => {
    const { from } = await inside();
    const out = expectIpv4(
      from(HOST2, ipPacket(CLIENT_VM, INNER_VIP, tcp({ destinationPort: 80 }))).frame,
      sourceIs(T1),
      keyIs(100),
    );
    const target = out.inner?.destination ?? '';
    expect([VM_A1, VM_A2]).toContain(target);
    const reply = ipPacket(target, CLIENT_VM, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' }));
    const back = from(target === VM_A1 ? HOST1 : HOST2, reply);
    expectIpv4(
      back.frame,
      sourceIs(T1),
      destinationIs(HOST2),
      keyIs(100),
      innerIs(sourceIs(INNER_VIP), destinationIs(CLIENT_VM), portsAre(80, 40000)),
    );
  });

  test('the same VIP does not exist in another VPC, nor outside', async () => {
    const { from, receive } = await inside();
    expect(from(HOST2, ipPacket(CLIENT_VM, INNER_VIP, tcp({ destinationPort: 80 })), 200).reason).toBe('NoFlow');
    expect(receive(ipPacket(CLIENT_VM, INNER_VIP, tcp({ destinationPort: 80 }))).reason).toBe('NotOurs');
    expect(from(HOST2, ipPacket(CLIENT_VM, INNER_VIP, tcp({ destinationPort: 81 }))).reason).toBe('NoListener');
  });

  test('a target that calls its own VIP gets another target', async () => {
    const { from } = await inside();
    for (let port = 1000; port < 1040; port++) {
      const { frame } = from(HOST1, ipPacket(VM_A1, INNER_VIP, tcp({ sourcePort: port, destinationPort: 80 })));
      expectIpv4(frame, destinationIs(HOST2), innerIs(sourceIs(VM_A1), destinationIs(VM_A2)));
    }
  });

  test('echo and errors are answered through the tunnel', async () => {
    const { from } = await inside();
    const echo = { protocol: 1, bytes: Buffer.from('0800f7fd00010001', 'hex') };
    const pong = expectIpv4(
      from(HOST2, ipPacket(CLIENT_VM, INNER_VIP, echo)).frame,
      destinationIs(HOST2),
      keyIs(100),
      innerIs(sourceIs(INNER_VIP), destinationIs(CLIENT_VM)),
    );
    expect(pong.inner?.icmp?.type).toBe(0);
    const late = expectIpv4(
      from(HOST2, ipPacket(CLIENT_VM, INNER_VIP, tcp({ destinationPort: 80 }), 1)).frame,
      destinationIs(HOST2),
      innerIs(sourceIs(INNER_VIP), destinationIs(CLIENT_VM)),
    );
    expect(late.inner?.icmp?.type).toBe(11);
  });
});

// The explainer of library users: a director of a few rows, whose walks are data. The packets it tells are compared with those it sends.
import { describe, expect, test } from 'vitest';
import { gre, ipPacket, tcp, udp } from '../../../../tools/testkit/build.ts';
import { type SmallTables, createExplainer, explain } from '../../src/explainer.ts';

const CLIENT = '198.51.100.1';
const VIP = '203.0.113.10';
const TABLES: SmallTables = {
  listeners: [
    {
      name: 'web',
      vip: VIP,
      port: 80,
      targets: [
        { name: 'vm-1', address: '10.0.0.2', port: 8080, vpcId: 100, host: '10.255.0.11' },
        { name: 'vm-2', address: '10.0.0.3', port: 8080, vpcId: 100, host: '10.255.0.12', weight: 3 },
      ],
    },
    { vip: VIP, port: 53, protocol: 'udp', targets: [{ address: '10.255.0.31', host: '10.255.0.31' }] },
    { vip: VIP, port: 99, targets: [] },
  ],
  eips: [{ eip: '203.0.113.77', vpcId: 100, address: '10.0.0.9', host: '10.255.0.11' }],
};
const SYN = ipPacket(CLIENT, VIP, tcp({ destinationPort: 80 }));

describe('the explainer', () => {
  test('tells the walk of a new flow by the names of the tables and makes no flow', async () => {
    const explainer = await createExplainer(TABLES);
    const told = explainer.explain(SYN);
    expect(told).toMatchObject({ verdict: 'Forward', reason: 'None' });
    const texts = Object.fromEntries(told.steps.map(({ step, text }) => [step, text]));
    expect(texts.classify).toMatch(/^listener web, scheduler Maglev, translation Dnat/);
    expect(texts.schedule).toMatch(/^target vm-[12], Alive, by Maglev slot \d+/);
    expect(texts.encapsulate).toMatch(/^Gre with key 100 10\.254\.0\.1 → 10\.255\.0\.1[12], host 10\.255\.0\.1[12]/);
    expect(explainer.counters().flowsActive).toBe(0);
  });

  test('tells what is then forwarded, and the way back of the reply', async () => {
    const explainer = await createExplainer(TABLES);
    const told = explainer.explain(SYN);
    const sent = explainer.forward(SYN);
    expect(Buffer.from(sent.packet).equals(Buffer.from(told.frame))).toBe(true);
    const target = told.steps.find(({ step }) => step === 'translate')?.data.destination as string;
    const host = told.steps.find(({ step }) => step === 'encapsulate')?.data.outerDestination as string;
    const reply = ipPacket(target, CLIENT, tcp({ sourcePort: 8080, destinationPort: 40000, flags: 'SA' }));
    const back = explainer.explain(ipPacket(host, '10.254.0.1', gre(100, reply)));
    expect(back.verdict).toBe('Forward');
    expect(back.steps.find(({ step }) => step === 'track')?.text).toMatch(/flow table: hit/);
    expect([...back.frame.subarray(12, 20)].join('.')).toBe(`${VIP}.${CLIENT}`);
    expect(explainer.counters().flowsActive).toBe(1);
  });

  test('says why nothing is forwarded', async () => {
    const explainer = await createExplainer(TABLES);
    const reasonOf = (packet: Buffer): string => explainer.explain(packet).reason;
    expect(reasonOf(ipPacket(CLIENT, VIP, tcp({ destinationPort: 81 })))).toBe('NoListener');
    expect(reasonOf(ipPacket(CLIENT, VIP, tcp({ destinationPort: 99 })))).toBe('NoTarget');
    expect(reasonOf(Buffer.from('nonsense'))).toBe('BadHeader');
    expect((await explain(ipPacket(CLIENT, '203.0.113.77', udp(1, 2, Buffer.from('x'))), TABLES)).verdict).toBe(
      'Forward',
    );
  });

  test('takes other tables while flows live on, and a dead target gets no new ones', async () => {
    const explainer = await createExplainer(TABLES);
    const [web] = TABLES.listeners ?? [];
    const targets = web!.targets.map((target) => ({ ...target, isAlive: target.name === 'vm-1' }));
    explainer.apply({ ...TABLES, listeners: [{ ...web!, targets }] });
    for (let port = 1000; port < 1020; port++) {
      const told = explainer.explain(ipPacket(CLIENT, VIP, tcp({ sourcePort: port, destinationPort: 80 })));
      expect(told.steps.find(({ step }) => step === 'schedule')?.text).toMatch(/^target vm-1, Alive/);
    }
    expect(explainer.explain(ipPacket(CLIENT, VIP, udp(1, 53, Buffer.from('x')))).reason).toBe('NoListener');
  });

  test('refuses rows that make no sense', async () => {
    await expect(createExplainer({ listeners: [{ vip: 'here', port: 80, targets: [] }] })).rejects.toThrow(
      /"here" is not/,
    );
  });
});

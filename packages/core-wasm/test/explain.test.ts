// Explain tells the truth: it walks the live tables with the same code, and changes nothing.
import { expect, test } from 'vitest';
import { ipPacket, tcp } from '../../../tools/testkit/build.ts';
import { Core, explain } from '../src/index.ts';
import { CLIENT, VIP, director } from './director-fixture.ts';

test('explain names listener, target, rewrite and tunnel of a new flow, and the packet then takes that very way', async () => {
  const { core, memory, plan, receive } = await director({ artefact: 'shared' });
  const explainer = await Core.open({ memory, plan, worker: 'explainer', artefact: 'trace' });
  const syn = ipPacket(CLIENT, VIP, tcp({ destinationPort: 200 }));
  const told = explain(explainer, syn, 1000, { target: (slot) => `target-${slot}` });
  expect(told.verdict).toBe('Forward');
  expect(told.steps.map((step) => step.step)).toEqual([
    'parse',
    'dispatch',
    'classify',
    'admit',
    'track',
    'schedule',
    'track',
    'translate',
    'encapsulate',
    'emit',
    'verdict',
  ]);
  expect(told.steps.find((step) => step.step === 'schedule')?.text).toMatch(
    /^target target-\d, Alive, by Maglev slot \d+$/,
  );
  expect(core.counters().flowsActive).toBe(0);
  const out = receive(syn);
  expect(out.frame.equals(told.frame)).toBe(true);
  const again = explain(explainer, syn, 1000);
  expect(again.steps.find((step) => step.step === 'track')?.text).toMatch(/hit, flow 0, SynSeen$/);
  expect(core.counters()).toMatchObject({ flowsActive: 1, received: 1 });
});

test('explain says why a packet is dropped', async () => {
  const { memory, plan } = await director({ artefact: 'shared' });
  const explainer = await Core.open({ memory, plan, worker: 'explainer', artefact: 'trace' });
  const told = explain(explainer, ipPacket(CLIENT, VIP, tcp({ destinationPort: 4444 })), 1000);
  expect(told).toMatchObject({ verdict: 'Drop', reason: 'NoListener' });
  expect(told.steps.at(-1)?.text).toContain('no listener on that port');
});

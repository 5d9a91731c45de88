// Health probes travel the data path (data-plane.md P24).
import { describe, expect, test } from 'vitest';
import { ethernet, gre, ipPacket, tcp } from '../../../tools/testkit/build.ts';
import { destinationIs, expectIpv4, innerIs, keyIs, portsAre, sourceIs } from '../../../tools/testkit/expect.ts';
import { parseAddress } from '../src/index.ts';
import {
  DIRECTOR_MAC,
  HOST1,
  PROBE,
  SERVER,
  SWITCH_MAC,
  T1,
  VM_A1,
  director,
  id,
  outcome,
} from './director-fixture.ts';

describe('probes', () => {
  test('a probe goes to its target in the target’s own tunnel, from the probe address', async () => {
    const { core, slots } = await director();
    const probe = {
      protocol: 'tcp',
      source: parseAddress(PROBE),
      sourcePort: 33000,
      destinationPort: 8080,
      sequence: 7,
    } as const;
    const count = core.craftProbes(
      [
        { ...probe, destination: parseAddress(VM_A1), targetSlot: slots.targets.slotOf(id('a1')) ?? -1 },
        {
          ...probe,
          protocol: 'icmp',
          destination: parseAddress(SERVER),
          targetSlot: slots.targets.slotOf(id('server')) ?? -1,
        },
      ],
      1000,
    );
    expect(count).toBe(2);
    const first = outcome(core, 0);
    expect(first.verdict).toBe('Forward');
    expectIpv4(
      first.frame,
      sourceIs(T1),
      destinationIs(HOST1),
      keyIs(100),
      innerIs(sourceIs(PROBE), destinationIs(VM_A1), portsAre(33000, 8080)),
    );
    expectIpv4(
      outcome(core, 1).frame,
      sourceIs(T1),
      destinationIs(SERVER),
      innerIs(sourceIs(PROBE), destinationIs(SERVER)),
    );
  });

  test('the answer is punted to the health checker, inner packet and net at hand', async () => {
    const { core, send } = await director();
    const reply = ipPacket(VM_A1, PROBE, tcp({ sourcePort: 8080, destinationPort: 33000, flags: 'SA' }));
    const out = send(ethernet(SWITCH_MAC, DIRECTOR_MAC, ipPacket(HOST1, T1, gre(100, reply))));
    expect(out).toMatchObject({ verdict: 'Punt', reason: 'Probe' });
    expect(core.currentNet(0)).toBe(100);
    expect(Buffer.from(core.currentPacket(0)).equals(reply)).toBe(true);
  });
});

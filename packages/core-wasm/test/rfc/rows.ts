// All fixture rows, and what a director makes of one.
import type { Artefact } from '../../src/index.ts';
import { ethernet } from '../../../../tools/testkit/build.ts';
import { DIRECTOR_MAC, SWITCH_MAC, director, outcome, type Outcome } from '../director-fixture.ts';
import { FRAGMENT_ROWS } from './fragment.ts';
import { ICMP_ROWS } from './icmp.ts';
import { IP_ROWS } from './ip.ts';
import { NAT_ROWS } from './nat.ts';
import { ROW_TABLES, type Row } from './row.ts';
import { TRANSPORT_ROWS } from './transport.ts';
import { TUNNEL_ROWS } from './tunnel.ts';

export const ROWS: readonly Row[] = [
  ...IP_ROWS,
  ...FRAGMENT_ROWS,
  ...TRANSPORT_ROWS,
  ...ICMP_ROWS,
  ...TUNNEL_ROWS,
  ...NAT_ROWS,
];

/** Small, because every row has a memory of its own. */
const PLAN = { flows: 64, fragments: 64, maglevSlots: 8192 };

/** The records of every packet of a row, one burst a packet, on a director of its own. */
export async function runRow(row: Row, artefact: Artefact): Promise<Outcome[][]> {
  const { core, apply } = await director({ artefact, withoutImage: true, plan: PLAN });
  apply(ROW_TABLES);
  return row.send.map((packet) => {
    core.inject([row.isFrame === true ? packet : ethernet(SWITCH_MAC, DIRECTOR_MAC, packet)], 0);
    const count = core.forwardBurst(1, 1000);
    return Array.from({ length: count }, (_, index) => outcome(core, index));
  });
}

// The twelve lines of the story in order (issues "The first walk" and "Layer 7, complete"). Each is a function, so that the e2e tests run the very same lines.
import type { Cluster } from './cluster.ts';
import { eipStory } from './story/eip.ts';
import { explainStory } from './story/explain.ts';
import { directorDies, targetDies } from './story/failures.ts';
import { createSecureListener, httpStory, routedByName, secureStage } from './story/layer7.ts';
import { pinnedAndCanary, retriedAndExplained, secureNames } from './story/secure.ts';
import { tenantCreates } from './story/balancer.ts';
import { neverMixed, physicalServer } from './story/targets.ts';
import { reachedByWeight } from './story/weights.ts';
import type { Teller } from './tell.ts';

export interface Line {
  title: string;
  run(cluster: Cluster, tell: Teller): Promise<void>;
}

export const STORY: readonly Line[] = [
  { title: '1. A tenant creates a load balancer through the API', run: tenantCreates },
  { title: '2. The client reaches both VMs of VPC 100', run: (cluster, tell) => reachedByWeight(cluster, tell) },
  { title: '3. Two VPCs with the same addresses', run: (cluster, tell) => neverMixed(cluster, tell) },
  {
    title: '4. A physical server behind the same listener as a VM',
    run: (cluster, tell) => physicalServer(cluster, tell),
  },
  { title: '5. An HTTP listener, routed by domain and path', run: httpStory },
  { title: '6. The life of an EIP', run: eipStory },
  { title: '7. A target dies and returns', run: targetDies },
  { title: '8. A director is killed', run: directorDies },
  { title: '9. clb explain', run: explainStory },
  {
    title: '10. HTTPS with SNI and HTTP/2',
    run: async (cluster, tell) => {
      await createSecureListener(cluster);
      await secureNames(secureStage(cluster), tell);
    },
  },
  {
    title: '11. A pinned session and a canary',
    run: (cluster, tell) => pinnedAndCanary(secureStage(cluster), tell),
  },
  {
    title: '12. A failure that the client never sees: retried, logged, explained',
    run: (cluster, tell) => retriedAndExplained(secureStage(cluster), tell),
  },
  {
    title: '2 and 5 again, over IPv6',
    run: async (cluster, tell) => {
      await reachedByWeight(cluster, tell, 400, 'v6');
      await routedByName(cluster, tell, 'v6');
    },
  },
];

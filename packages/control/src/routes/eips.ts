// The service behind /v1/eips: the routes are the plugin of @openclb/eip-ipv6, the transactions are ours.
import type { EipService } from '@openclb/eip-ipv6/plugin';
import type { Controller } from '../controller.ts';
import { allocate, bind, release, unbind } from '../edit/eips.ts';

export function eipService(controller: Controller): EipService {
  return {
    list: () => controller.list('eip'),
    get: (id) => controller.show('eip', id),
    allocate: (input) => controller.save('eip', (edit) => allocate(edit, input)),
    bind: (id, input) => controller.save('eip', (edit) => bind(edit, id, input)),
    unbind: (id) => controller.save('eip', (edit) => unbind(edit, id)),
    release: async (id) => {
      const { revision } = await controller.run((edit) => release(edit, id));
      return { revision };
    },
  };
}

// /v1/certificates: certificates with keys that are never shown again (control-plane.md B11).
import { ClbError, type CertificateInput, type CertificatePatch } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { KEY } from '../desired/keys.ts';
import type { StoredCertificate } from '../desired/state.ts';
import { compact, type Edit } from '../edit/context.ts';
import { saveCertificate } from '../edit/balancing.ts';
import { refuseIfUsed, removeObject } from '../edit/remove.ts';
import { docs, type IdRoute } from './resource.ts';

const { list, show, create, change, remove } = docs('certificates');

export async function certificateRoutes(app: FastifyInstance): Promise<void> {
  const { controller } = app;
  app.get('/certificates', { schema: list('listCertificates', 'List certificates', 'Certificate') }, async () => ({
    items: controller.list('certificate'),
  }));
  app.get<IdRoute>(
    '/certificates/:id',
    { schema: show('getCertificate', 'Show a certificate', 'Certificate') },
    async ({ params }) => controller.show('certificate', params.id),
  );
  app.post<{ Body: CertificateInput }>(
    '/certificates',
    { schema: create('createCertificate', 'Create a certificate', 'CertificateInput', 'Certificate') },
    async ({ body }, reply) => {
      const created = await controller.save('certificate', (edit) => {
        const { id } = body;
        if (id !== undefined && edit.draft.get(KEY.certificate(id)) !== undefined)
          throw new ClbError('AlreadyExists', { kind: 'certificate', id, field: '/id' });
        return saveCertificate(edit, body);
      });
      return reply.code(201).send(created);
    },
  );
  app.patch<IdRoute & { Body: CertificatePatch }>(
    '/certificates/:id',
    { schema: change('changeCertificate', 'Change a certificate', 'CertificatePatch', 'Certificate') },
    async ({ params, body }) =>
      controller.save('certificate', (edit) => {
        const before = requireOne(edit, params.id);
        // A response speaks of one certificate: another one needs its own.
        const { ocsp: _stale, ...kept } = before;
        const from = body.certificate === undefined ? before : kept;
        return saveCertificate(edit, { ...from, ...compact(body) }, before);
      }),
  );
  app.delete<IdRoute>(
    '/certificates/:id',
    { schema: remove('deleteCertificate', 'Delete a certificate that nobody uses') },
    async ({ params }) => {
      const { revision } = await controller.run((edit) => {
        const before = requireOne(edit, params.id);
        refuseIfUsed(edit, 'certificate', before.id);
        removeObject(edit, 'certificate', before);
      });
      return { revision };
    },
  );
}

function requireOne(edit: Edit, id: string): StoredCertificate {
  const found = edit.draft.get<StoredCertificate>(KEY.certificate(id));
  if (!found) throw new ClbError('NotFound', { kind: 'certificate', id });
  return found;
}

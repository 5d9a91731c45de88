// What goes with a SYN proxy and with domains at layer 4 (data-plane.md P26, P27, P41), checked when a listener is saved.
import { isProxied, type ListenerInput } from '@openclb/model';
import { KEY } from '../desired/keys.ts';
import { type Edit, reject, requireReference } from './context.ts';

const RETURN = 'replies do not pass the director, which has to translate their sequence numbers';

export function checkBinding(edit: Edit, input: ListenerInput): void {
  const { protocol, translation, synProxy, synRate, domains } = input;
  const isOn = synProxy !== undefined && synProxy !== 'off';
  if (synRate !== undefined && synProxy !== 'auto') reject('/synRate', 'is for listeners with synProxy auto');
  if (!isOn && domains === undefined) return;
  const field = isOn ? '/synProxy' : '/domains';
  if (isProxied(input))
    reject(
      field,
      `is for TCP listeners that directors forward: ${protocol} ends on a proxy`,
      'Proxies have SYN cookies.',
    );
  if (protocol !== 'TCP') reject(field, `is for TCP listeners, not ${protocol}`);
  if (translation === 'none') reject(field, `needs translation dnat: with none ${RETURN}`);
  if (isOn && domains !== undefined)
    reject('/synProxy', 'is not for listeners with domains: the director answers their SYNs anyway');
  if (domains !== undefined && input.targetGroup === undefined)
    reject('/targetGroup', 'is missing', 'Clients that ask for no domain of the listener go there.');
  checkDomains(edit, domains ?? []);
}

function checkDomains(edit: Edit, domains: NonNullable<ListenerInput['domains']>): void {
  const seen = new Set<string>();
  for (const [index, { domain, targetGroup }] of domains.entries()) {
    const name = domain.toLowerCase();
    if (seen.has(name)) reject(`/domains/${index}/domain`, `names ${name} a second time`);
    seen.add(name);
    requireReference(edit, KEY.targetGroup(targetGroup), `/domains/${index}/targetGroup`, targetGroup);
  }
}

// What crosses the link is hostile until checked, and an error must name the field.
import { expect, test } from 'vitest';
import { checkFromNode, checkImage, checkToNode } from './check.ts';

const image = {
  role: 'endpoint',
  generation: { revision: 1, compiler: 1 },
  self: { id: 'host1', underlay: { v4: '10.255.0.11' } },
  tunnels: [],
  anycast: {},
  trusted: [],
  vms: [],
  physical: [],
  map: [],
  registered: [],
  internalVips: [],
  sources: [],
  localVips: [],
};

test('a well-formed image message passes', () => {
  expect(checkToNode({ version: 1, type: 'image', hash: 'ab', image })).toBeNull();
  expect(checkToNode({ version: 1, type: 'ping' })).toBeNull();
});

test('a field that this version does not know is an error that names it', () => {
  expect(checkImage({ ...image, colour: 'red' })).toContain('colour');
});

test('an error inside a row names the way to it', () => {
  const broken = { ...image, map: [{ net: 100, address: '10.0.0.2', host: 7 }] };
  expect(checkToNode({ version: 1, type: 'image', hash: 'ab', image: broken })).toContain('map.0.host');
});

test('a newer link version says what to do', () => {
  expect(checkToNode({ version: 2, type: 'image', hash: 'ab', image })).toContain('upgrade this node');
});

test('an unknown role or message type lists the known ones', () => {
  expect(checkImage({ ...image, role: 'router' })).toContain('director, endpoint, proxy');
  expect(checkToNode({ version: 1, type: '__proto__' })).toContain('image, ping, explain, counters');
  expect(checkFromNode({ version: 1, type: 'applied' })).not.toBeNull();
  expect(checkFromNode({ version: 1, type: 'alive', applied: null, hash: null })).toBeNull();
  for (const junk of [null, 1, 'x', [], {}]) expect(checkFromNode(junk)).not.toBeNull();
});

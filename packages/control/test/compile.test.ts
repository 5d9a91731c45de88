// Compile is pure and per load balancer: the same desired state gives byte-equal images, and one that fails stops nobody (B3, B4).
import { canonicalJson, checkImage, type DirectorImage, type EndpointImage, type ProxyImage } from '@openclb/model';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stableIds, stableId } from '../src/compile/stable-id.ts';
import { emptyState, type DesiredState, putIntoState } from '../src/desired/state.ts';
import { compileMemo } from '../src/compile/index.ts';
import { compile, type Compiled, resolvePools } from '../src/index.ts';
import { sampleConfig, startTestController } from './cluster.ts';

const options = { pools: resolvePools(), readyPort: 8998 };
let entries: (readonly [string, unknown])[] = [];

beforeAll(async () => {
  const controller = await startTestController();
  await controller.call('PUT', '/config', sampleConfig());
  entries = ['vpc', 'node', 'instance', 'group', 'lb', 'listener', 'eip'].flatMap((kind) =>
    controller.app.controller.mirror.list(`d/${kind}/`).map(([key, { value }]) => [key, value] as const),
  );
  await controller.app.close();
});

function stateOf(rows: readonly (readonly [string, unknown])[], revision = 7): DesiredState {
  const state = emptyState();
  for (const [key, value] of rows) putIntoState(state, key, structuredClone(value));
  state.revision = revision;
  return state;
}
const build = (rows = entries, kept: Compiled['fragments'] = new Map()): Compiled =>
  compile(stateOf(rows), kept, options);
const director = (compiled: Compiled): DirectorImage => compiled.images.get('ld1') as DirectorImage;
const change = (prefix: string, edit: (value: Record<string, unknown>) => unknown) =>
  entries.map(
    ([key, value]) =>
      [key, key.startsWith(prefix) ? edit(structuredClone(value) as Record<string, unknown>) : value] as const,
  );

describe('determinism', () => {
  test('the order in which things were created does not change one byte of any image', () => {
    const wanted = [...build().images].map(([node, image]) => [node, canonicalJson(image)] as const);
    fc.assert(
      fc.property(fc.shuffledSubarray(entries, { minLength: entries.length }), (shuffled) => {
        const images = [...build(shuffled).images].map(([node, image]) => [node, canonicalJson(image)] as const);
        expect(images).toEqual(wanted);
      }),
      { numRuns: 50 },
    );
  });

  test('what is remembered from earlier compiles changes no result, whatever changed in between', () => {
    const memo = compileMemo();
    const state = emptyState();
    for (const [key, value] of entries) putIntoState(state, key, structuredClone(value));
    const change = fc.tuple(fc.nat(1000), fc.constantFrom('delete', 'restore', 'break'));
    fc.assert(
      fc.property(fc.array(change, { maxLength: 5 }), (changes) => {
        for (const [at, what] of changes) {
          const [key, value] = entries[at % entries.length] ?? ['', undefined];
          putIntoState(
            state,
            key,
            what === 'delete' ? undefined : what === 'break' ? { id: 'x' } : structuredClone(value),
          );
        }
        const text = (compiled: Compiled): string =>
          canonicalJson([[...compiled.images], compiled.loadBalancers, compiled.warnings]);
        expect(text(compile(state, new Map(), options, memo))).toBe(text(compile(state, new Map(), options)));
      }),
      { numRuns: 200 },
    );
  });

  test('every image passes the check that nodes make', () => {
    for (const image of build().images.values()) expect(checkImage(image)).toBeNull();
  });

  test('ids are the first 64 bits of SHA-256, and a collision is found', () => {
    expect(stableId('abc')).toBe('ba7816bf8f01cfea');
    const ids = stableIds();
    expect(ids.of('lbl-a')).toBe(ids.of('lbl-a'));
  });
});

describe('images by role', () => {
  test('a VPC target is reached by GRE to its host, a physical one by IPIP to itself', () => {
    const { listeners, groups, targets, hosts } = director(build());
    const listener = listeners.find(({ vip, vport }) => vip === '203.0.113.10' && vport === 80);
    expect(listener).toMatchObject({
      net: 0,
      protocol: 6,
      translation: 'dnat',
      scheduler: 'maglev',
      directReturn: false,
      idleSeconds: 900,
    });
    const members = groups
      .find(({ id }) => id === listener?.group)
      ?.targets.map(({ target, weight }) => {
        const row = targets.find(({ id }) => id === target);
        const host = hosts.find(({ id }) => id === row?.host);
        return `${row?.net} ${row?.address}:${row?.port} ${row?.encapsulation} ${host?.v4} ${weight}`;
      });
    expect(members?.sort()).toEqual([
      '0 10.255.0.31:8080 ipip 10.255.0.31 10',
      '100 10.0.0.2:8080 gre 10.255.0.11 20',
      '100 10.0.0.3:8080 gre 10.255.0.12 10',
    ]);
  });

  test('an IPv6 VIP has a group of its own that holds no IPv4 target', () => {
    const { listeners, groups } = director(build());
    const listener = listeners.find(({ vip, vport }) => vip === '2001:db8:cb::10' && vport === 80);
    expect(groups.find(({ id }) => id === listener?.group)?.targets).toEqual([]);
  });

  test('proxies relay TCP and UDP listeners where there is no director, and leave them alone where there is one', () => {
    const relayed = (compiled: Compiled): string[] =>
      (compiled.images.get('px1') as ProxyImage).listeners
        .filter(({ protocol }) => protocol === 'tcp' || protocol === 'udp')
        .map(({ name }) => name);
    const layer4 = [
      ...new Set(
        director(build())
          .listeners.filter(({ directReturn }) => !directReturn)
          .map(({ name }) => name),
      ),
    ];
    const alone = entries.filter(
      ([key, value]) => !key.startsWith('d/node/') || (value as { role: string }).role !== 'director',
    );
    expect(layer4).not.toEqual([]);
    expect(relayed(build(alone)).sort()).toEqual(layer4.sort());
    expect(relayed(build())).toEqual([]);
  });

  test('on one machine a load balancer with a VIP of the machine or a listener of a proxy is relayed, and directors know nothing of it', () => {
    const protocolsOf = (id: string): unknown[] =>
      entries
        .map(([, value]) => value as { loadBalancer?: string; protocol?: string })
        .filter((value) => value.loadBalancer === id && value.protocol !== undefined)
        .map(({ protocol }) => protocol);
    const balancers = entries
      .filter(([key]) => key.startsWith('d/lb/'))
      .map(([, value]) => value as { id: string; vips: string[] });
    const forwarded = (own: string[]): string[] => {
      const compiled = compile(stateOf(entries), new Map(), { ...options, ownAddresses: () => own });
      return [...new Set(director(compiled).listeners.map(({ loadBalancer }) => loadBalancer))].sort();
    };
    const onlyPackets = balancers.filter(({ id }) => protocolsOf(id).every((one) => one === 'TCP' || one === 'UDP'));
    expect(onlyPackets.length).toBeGreaterThan(0);
    expect(onlyPackets.length).toBeLessThan(balancers.length);
    expect(forwarded([])).toEqual(onlyPackets.map(({ id }) => id).sort());
    const [first, ...others] = onlyPackets;
    expect(forwarded(first?.vips.slice(0, 1) ?? [])).toEqual(others.map(({ id }) => id).sort());
  });

  test('an HTTP listener is forwarded untranslated to the pool of proxies', () => {
    const { listeners, groups, targets, trusted } = director(build());
    const rows = listeners.filter(({ vport }) => vport === 8080);
    expect(rows).toHaveLength(2);
    for (const row of rows)
      expect(row).toMatchObject({ translation: 'none', directReturn: true, idleSeconds: 900, scheduler: 'maglev' });
    const [member] = groups.find(({ id }) => id === rows[0]?.group)?.targets ?? [];
    expect(targets.find(({ id }) => id === member?.target)).toMatchObject({
      name: 'px1',
      net: 0,
      address: '10.255.0.21',
      encapsulation: 'gre',
    });
    expect(trusted).toEqual(['10.255.0.21']);
  });

  test('a proxy connects from the source address that names the VPC, and knows where its VMs live', () => {
    const proxy = build().images.get('px1') as ProxyImage;
    expect(proxy.targets.map(({ net, address, source }) => `${net} ${address} ${source}`).sort()).toEqual([
      '100 10.0.0.2 100.112.16.1',
      '200 10.0.0.2 100.112.16.2',
    ]);
    expect(proxy.endpoint?.sources).toEqual([
      { net: 100, v4: '100.112.16.1', v6: 'fd7c:6c62:1:64::1' },
      { net: 200, v4: '100.112.16.2', v6: 'fd7c:6c62:1:c8::1' },
    ]);
    expect(proxy.endpoint?.localVips).toEqual(['2001:db8:cb::10', '203.0.113.10']);
    expect(proxy.endpoint?.map).toEqual([
      { net: 100, address: '10.0.0.2', host: '10.255.0.11' },
      { net: 100, address: '10.0.0.3', host: '10.255.0.12' },
      { net: 200, address: '10.0.0.2', host: '10.255.0.12' },
    ]);
  });

  test('an endpoint has its own VMs, the map of their VPCs, its targets, and who has an EIP', () => {
    const image = build().images.get('host2') as EndpointImage;
    expect(image.vms.map(({ net, addresses, device, eips }) => `${net} ${addresses} ${device} ${eips}`).sort()).toEqual(
      ['100 10.0.0.3 vm-a2 10.0.0.3', '200 10.0.0.2 vm-b1 '],
    );
    expect(image.registered).toEqual([
      { net: 100, address: '10.0.0.3', port: 8080, protocol: 6 },
      { net: 200, address: '10.0.0.2', port: 8080, protocol: 6 },
    ]);
    expect(image.map).toHaveLength(3);
    expect(image.trusted).toEqual(['10.255.0.11', '10.255.0.21', '10.255.0.31']);
    expect((build().images.get('phys1') as EndpointImage).physical).toEqual(['10.255.0.31']);
  });

  test('a director has all tunnel addresses of the cluster and the EIPs with their hosts', () => {
    const { tunnels, eips, hosts, self, probe } = director(build());
    expect(tunnels.map(({ v4 }) => v4)).toEqual(['10.254.1.1', '10.254.2.1']);
    expect(eips).toMatchObject([{ eip: '198.18.0.9', net: 100, address: '10.0.0.3' }]);
    expect(hosts.find(({ id }) => id === eips[0]?.host)?.name).toBe('host2');
    expect([self.ordinal, probe.v4]).toEqual([1, '100.64.16.1']);
  });

  test('the health check of a group is written out in milliseconds', () => {
    const { groups, listeners } = director(build());
    const group = groups.find(
      ({ id }) => id === listeners.find(({ vip, vport }) => vip === '203.0.113.10' && vport === 80)?.group,
    );
    expect(group?.check).toEqual({
      type: 'tcp',
      intervalMs: 2000,
      timeoutMs: 1000,
      healthyThreshold: 2,
      unhealthyThreshold: 2,
    });
  });
});

describe('what cannot be compiled', () => {
  test('a target that nobody placed is left out with a reason, and fails nothing', () => {
    const compiled = build(
      change('d/instance/', ({ host, ...rest }) => (rest['name'] === 'vm-a2' ? rest : { ...rest, host })),
    );
    expect(compiled.loadBalancers.every(({ compiled: isCompiled }) => isCompiled)).toBe(true);
    expect(compiled.loadBalancers.flatMap(({ warnings }) => warnings).join()).toMatch(
      /10\.0\.0\.3 of VPC 100 is placed on no host/,
    );
    expect(director(compiled).targets.map(({ address }) => address)).not.toContain('10.0.0.3');
    expect(compiled.warnings.join()).toMatch(/198|out/);
  });

  test('two listeners that send to one target port are named, because client tuples may meet there', () => {
    const twin = entries.flatMap(([key, value]) => {
      const listener = value as { id: string; protocol: string; port: number };
      if (!key.startsWith('d/listener/') || listener.protocol !== 'TCP') return [[key, value] as const];
      return [[key, value] as const, [`${key}-twin`, { ...listener, id: `${listener.id}-twin`, port: 81 }] as const];
    });
    expect(build().warnings).toEqual([]);
    expect(build(twin).warnings.join()).toMatch(/lbl-\w+ and lbl-\w+-twin both send to 10\.0\.0\.2:8080 of VPC 200/);
  });

  test('a broken load balancer keeps its last fragment, is flagged, and the others move on', () => {
    const good = build();
    const other = good.loadBalancers.find(({ name }) => name === 'other');
    const broken = change(`d/listener/${other?.id}/`, (value) => ({ ...value, port: 'eighty' })).map(([key, value]) =>
      key.startsWith('d/group/') ? ([key, { ...(value as object), slots: 251 }] as const) : ([key, value] as const),
    );
    const after = build(broken, good.fragments);
    expect(after.loadBalancers.find(({ id }) => id === other?.id)).toMatchObject({ compiled: false });
    expect(after.loadBalancers.find(({ id }) => id === other?.id)?.problem).toMatch(
      /port.*its last good state is served/,
    );
    const slotsOf = (vip: string): number | undefined => {
      const image = director(after);
      return image.groups.find(
        ({ id }) => id === image.listeners.find((row) => row.vip === vip && row.vport === 80)?.group,
      )?.slots;
    };
    expect([slotsOf('203.0.113.20'), slotsOf('203.0.113.10')]).toEqual([4093, 251]);
    expect(after.fragments.has(other?.id ?? '')).toBe(false);
  });

  test('without a last fragment nothing of it is served, and still the others are', () => {
    const after = build(change('d/lb/', (value) => (value['name'] === 'other' ? { nonsense: true } : value)));
    expect(director(after).vips.map(({ address }) => address)).toEqual(['2001:db8:cb::10', '203.0.113.10']);
    expect(after.loadBalancers.filter(({ compiled }) => !compiled)).toHaveLength(1);
  });

  test('whatever is in the store, compile does not throw and every image stays well formed', () => {
    const garbage = fc.array(fc.tuple(fc.nat(1000), fc.jsonValue()), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(garbage, (changes) => {
        const rows = [...entries];
        for (const [at, value] of changes) {
          const index = at % rows.length;
          rows[index] = [rows[index]?.[0] ?? '', value];
        }
        for (const image of build(rows).images.values()) expect(checkImage(image)).toBeNull();
      }),
      { numRuns: 200 },
    );
  });
});

afterAll(() => {
  entries = [];
});

// A verdict on a target → health records (tencent-cloud.md E6): one for each rule of each listener that uses the target's group.
import type { TargetHealth } from '../health.ts';
import type { CompiledImage } from '../image.ts';
import type { HealthRecord } from './record.ts';

export function healthRecords(image: CompiledImage, health: TargetHealth, time: number): HealthRecord[] {
  const { group, target, address, port, reason } = health;
  const net = image.source.targets.find((row) => row.name === target)?.net ?? 0;
  const records: HealthRecord[] = [];
  for (const listener of image.listeners) {
    const rules = listener.routes.rules.flatMap((rule) => [...rule.variants, rule]);
    const users = new Map(rules.filter((rule) => rule.group.name === group).map((rule) => [rule.name, rule] as const));
    const places = [...users.values()].map(({ domain, path }) => ({ domain, path }));
    if (listener.group?.name === group) places.push({ domain: '', path: '' });
    for (const { domain, path } of places) {
      records.push({
        time,
        protocol: listener.protocol,
        vip: listener.vips[0] ?? '',
        vport: listener.port,
        address,
        port,
        net,
        isAlive: health.health === 'alive',
        domain,
        path,
        reason,
      });
    }
  }
  return records;
}

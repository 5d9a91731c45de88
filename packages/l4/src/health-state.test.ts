// Health verdicts with a clock of our own: thresholds, timeouts, a new target, all dead at once, changes of the image.
import { type CheckSpec } from '@openclb/model';
import { expect, test } from 'vitest';
import { type Check, type HealthState, SELF_SUSPICION_MS, createHealthState } from './health-state.ts';

const spec: CheckSpec = {
  type: 'tcp',
  intervalMs: 2_000,
  timeoutMs: 1_000,
  healthyThreshold: 2,
  unhealthyThreshold: 3,
};
const check = (target: string, more: Partial<CheckSpec> = {}): Check => ({
  target,
  group: 'g',
  spec: { ...spec, ...more },
});

/** Plays `seconds` in steps of 100 ms; targets in `good` answer 5 ms after each probe, the others never. Returns the probes sent. */
function play(health: HealthState, fromMs: number, seconds: number, good: ReadonlySet<string>): number {
  let sent = 0;
  for (let now = fromMs; now < fromMs + seconds * 1_000; now += 100) {
    health.settle(now);
    for (const { check: probed, attempt } of health.due(now, 100)) {
      sent++;
      if (good.has(probed.target)) health.conclude(probed, attempt, true, now + 5);
    }
    health.settle(now);
  }
  return sent;
}

test('a new target is probing until it answered healthyThreshold times, one interval apart', () => {
  const health = createHealthState();
  health.configure([check('a')], 0);
  play(health, 0, 2, new Set(['a']));
  expect(health.verdict('a')).toBe('probing');
  play(health, 2_000, 0.2, new Set(['a']));
  expect(health.verdict('a')).toBe('alive');
});

test('silence takes a target out after unhealthyThreshold timeouts and not before, and answers bring it back', () => {
  const health = createHealthState();
  health.configure([check('a'), check('b')], 0);
  play(health, 0, 4, new Set(['a', 'b']));
  expect(health.verdict('a')).toBe('alive');
  // Probes at 4, 6 and 8 s; the third one times out at 9 s.
  play(health, 4_000, 4.9, new Set(['b']));
  expect(health.verdict('a')).toBe('alive');
  play(health, 8_900, 0.3, new Set(['b']));
  expect(health.verdict('a')).toBe('dead');
  expect(health.verdict('b')).toBe('alive');
  play(health, 9_200, 3, new Set(['a', 'b']));
  expect(health.verdict('a')).toBe('alive');
});

test('a single lost probe resets nothing but the count of successes', () => {
  const health = createHealthState();
  health.configure([check('a')], 0);
  play(health, 0, 2, new Set(['a']));
  play(health, 2_000, 2, new Set());
  play(health, 4_000, 2, new Set(['a']));
  expect(health.verdict('a')).toBe('probing');
  play(health, 6_000, 2, new Set(['a']));
  expect(health.verdict('a')).toBe('alive');
});

test('probes of one check are an interval apart and never overlap', () => {
  const health = createHealthState();
  health.configure([check('a', { intervalMs: 500, timeoutMs: 1_000 })], 0);
  expect(play(health, 0, 10, new Set())).toBe(10);
  expect(play(health, 10_000, 10, new Set(['a']))).toBe(20);
});

test('at most `max` probes are handed out at a time and the rest comes next', () => {
  const health = createHealthState();
  health.configure([check('a'), check('b'), check('c')], 0);
  expect(health.due(0, 2)).toHaveLength(2);
  expect(health.due(0, 2)).toHaveLength(1);
  expect(health.due(0, 2)).toHaveLength(0);
});

test('a late or repeated answer changes nothing', () => {
  const health = createHealthState();
  health.configure([check('a', { healthyThreshold: 1 })], 0);
  const [first] = health.due(0, 1);
  health.conclude(first!.check, first!.attempt + 1, true, 5);
  health.conclude(first!.check, first!.attempt, true, 1_001);
  health.settle(1_100);
  expect(health.verdict('a')).toBe('probing');
  const [second] = health.due(2_000, 1);
  health.conclude(first!.check, first!.attempt, true, 2_001);
  expect(health.verdict('a')).toBe('probing');
  health.conclude(second!.check, second!.attempt, true, 2_001);
  health.settle(2_002);
  expect(health.verdict('a')).toBe('alive');
});

test('a director that sees everything dead at once keeps its last verdicts for ten seconds', () => {
  const health = createHealthState();
  health.configure([check('a'), check('b')], 0);
  play(health, 0, 4, new Set(['a', 'b']));
  // Both fail their third probe at 9 s.
  play(health, 4_000, 5.5, new Set());
  expect(health.suspectsItself).toBe(true);
  expect(health.verdict('a')).toBe('alive');
  play(health, 9_500, SELF_SUSPICION_MS / 1_000, new Set());
  expect(health.suspectsItself).toBe(false);
  expect(health.verdict('a')).toBe('dead');
  expect(health.verdict('b')).toBe('dead');
});

test('self-suspicion ends as soon as one target answers again', () => {
  const health = createHealthState();
  health.configure([check('a'), check('b')], 0);
  play(health, 0, 4, new Set(['a', 'b']));
  play(health, 4_000, 5.5, new Set());
  play(health, 9_500, 4, new Set(['b']));
  expect(health.suspectsItself).toBe(false);
  expect([health.verdict('a'), health.verdict('b')]).toEqual(['dead', 'alive']);
});

test('verdicts outlive a change of the image, and a new target starts as what was known before a restart', () => {
  const health = createHealthState();
  health.configure([check('a')], 0);
  play(health, 0, 4, new Set(['a']));
  health.configure([check('a'), check('b')], 4_000, new Map([['g/b', 'dead']]));
  expect([health.verdict('a'), health.verdict('b')]).toEqual(['alive', 'dead']);
  health.configure([check('b')], 4_100);
  expect(health.verdict('a')).toBe('unknown');
  expect(health.reports()).toEqual([{ target: 'b', group: 'g', state: 'dead' }]);
});

test('a check of type none is never probed and its target is unknown, which is usable', () => {
  const health = createHealthState();
  health.configure([check('a', { type: 'none' })], 0);
  expect(play(health, 0, 10, new Set())).toBe(0);
  expect(health.verdict('a')).toBe('unknown');
});

test('a target of two groups is dead when either check says so', () => {
  const health = createHealthState();
  const one: Check = { target: 'a', group: 'one', spec: { ...spec, healthyThreshold: 1, unhealthyThreshold: 1 } };
  const two: Check = { ...one, group: 'two' };
  health.configure([one, two], 0);
  for (const due of health.due(0, 9)) health.conclude(due.check, due.attempt, due.check.group === 'one', 5);
  health.settle(10);
  expect(health.verdict('a')).toBe('dead');
});

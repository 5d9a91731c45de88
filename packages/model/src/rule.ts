// Rules of an HTTP or HTTPS listener: domain and path choose a target group (tencent-cloud.md E3).
import { type Static, Type } from 'typebox';
import { closed, ListenerId, Revision, RuleId, TargetGroupId } from './ids.ts';
import { RulePolicy } from './rule-policy.ts';

export const RULE_DEFAULTS = { domain: '', path: '/', isDefault: false, scheduler: 'wrr' } as const;

const domain = Type.String({
  maxLength: 120,
  pattern: '^[^_]',
  description: 'Exact name, `*.x`, `x.*` or `~regex`. Absent: the domain of requests that match no other',
});
const path = Type.String({
  minLength: 1,
  maxLength: 200,
  pattern: '^(/|= ?/|\\^~ ?/|~\\*? ?.)',
  default: RULE_DEFAULTS.path,
  description:
    'Plain prefix, or with `=` exact, `^~` prefix, `~` regex, `~*` regex without case; the longest prefix wins',
});
const isDefault = Type.Boolean({
  default: RULE_DEFAULTS.isDefault,
  description: 'The domain of this rule answers for unknown domains',
});
const scheduler = Type.Enum(['wrr', 'least-connections', 'ip-hash', 'maglev', 'p2c'], {
  default: RULE_DEFAULTS.scheduler,
  description: 'Picks the target of a request. p2c: the better of two by latency and load',
});

const optional = {
  domain: Type.Optional(domain),
  path: Type.Optional(path),
  isDefault: Type.Optional(isDefault),
  scheduler: Type.Optional(scheduler),
  policy: Type.Optional(RulePolicy),
};
const targetGroup = {
  ...TargetGroupId,
  description: 'Group of the targets; not needed by a rule that redirects or answers itself',
};

export const RuleInput = Type.Object(
  { id: Type.Optional(RuleId), listener: ListenerId, targetGroup: Type.Optional(targetGroup), ...optional },
  { ...closed, description: 'A rule to create' },
);
export type RuleInput = Static<typeof RuleInput>;

export const RulePatch = Type.Object(
  { targetGroup: Type.Optional(TargetGroupId), ...optional },
  { ...closed, description: 'What may change on a rule' },
);
export type RulePatch = Static<typeof RulePatch>;

export const Rule = Type.Object(
  {
    id: RuleId,
    listener: ListenerId,
    domain: Type.String({ maxLength: 120, description: 'Domain; empty for any' }),
    path,
    targetGroup: Type.Optional(targetGroup),
    isDefault,
    scheduler,
    policy: Type.Optional(RulePolicy),
    revision: Revision,
  },
  { ...closed, description: 'A rule of an HTTP or HTTPS listener' },
);
export type Rule = Static<typeof Rule>;

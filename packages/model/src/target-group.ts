// Target groups: targets that share one Maglev table and one health check (data-plane.md P12). Listeners and rules name a group.
import { type Static, Type } from 'typebox';
import { HealthCheck } from './health-check.ts';
import { closed, Name, Revision, TargetGroupId } from './ids.ts';
import { LIMITS } from './limits.ts';
import { Resilience } from './resilience.ts';
import { Target, TargetInput } from './target.ts';

export const TARGET_GROUP_DEFAULTS = { slots: 4093 } as const;

/** Prime sizes only: with another size some permutations of Maglev would not reach every slot. */
export const MAGLEV_SIZES: readonly number[] = [251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_521, 65_537];

const slots = Type.Enum([251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_521, 65_537], {
  default: TARGET_GROUP_DEFAULTS.slots,
  description: 'Size of the Maglev table, a prime; a change moves every flow',
});

export const TargetGroupInput = Type.Object(
  {
    id: Type.Optional(TargetGroupId),
    name: Name,
    slots: Type.Optional(slots),
    healthCheck: Type.Optional(HealthCheck),
    resilience: Type.Optional(Resilience),
    targets: Type.Optional(Type.Array(TargetInput, { maxItems: LIMITS.targetsPerGroupMax })),
  },
  { ...closed, description: 'A target group to create' },
);
export type TargetGroupInput = Static<typeof TargetGroupInput>;

export const TargetGroupPatch = Type.Object(
  {
    name: Type.Optional(Name),
    slots: Type.Optional(slots),
    healthCheck: Type.Optional(HealthCheck),
    resilience: Type.Optional(Resilience),
  },
  { ...closed, description: 'What may change on a target group' },
);
export type TargetGroupPatch = Static<typeof TargetGroupPatch>;

export const TargetList = Type.Object(
  { targets: Type.Array(TargetInput, { maxItems: LIMITS.targetsPerGroupMax }) },
  { ...closed, description: 'The whole list of targets of a group' },
);
export type TargetList = Static<typeof TargetList>;

export const TargetGroup = Type.Object(
  {
    id: TargetGroupId,
    name: Name,
    slots,
    healthCheck: HealthCheck,
    resilience: Type.Optional(Resilience),
    targets: Type.Array(Target),
    revision: Revision,
  },
  { ...closed, description: 'Targets that share one table and one health check' },
);
export type TargetGroup = Static<typeof TargetGroup>;

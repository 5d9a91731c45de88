// Shadow config: what a candidate would have decided otherwise, by node.
import { type Static, Type } from 'typebox';

const closed = { additionalProperties: false } as const;

export const ShadowCounts = Type.Object(
  {
    revision: Type.Integer({ minimum: 0 }),
    compared: Type.Integer({ minimum: 0 }),
    differences: Type.Record(Type.String(), Type.Integer({ minimum: 0 })),
    examples: Type.Array(
      Type.Object(
        {
          kind: Type.String(),
          time: Type.Number(),
          request: Type.String(),
          active: Type.String(),
          candidate: Type.String(),
        },
        closed,
      ),
    ),
  },
  closed,
);
export type ShadowCounts = Static<typeof ShadowCounts>;

export const ShadowReport = Type.Object(
  {
    nodes: Type.Array(
      Type.Object(
        {
          node: Type.String(),
          report: Type.Union([ShadowCounts, Type.Null()], { description: 'Null: no candidate decides there' }),
          error: Type.Optional(Type.String()),
        },
        closed,
      ),
    ),
  },
  { ...closed, description: 'What a candidate configuration would have decided otherwise' },
);
export type ShadowReport = Static<typeof ShadowReport>;

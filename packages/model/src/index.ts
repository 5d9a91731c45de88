// The nouns of OpenCLB, one place for everybody: re-exports only.
export * from './canonical.ts';
export * from './check.ts';
export * from './image.ts';
export * from './link.ts';

// The test kit: namespaces, processes, captures, packets and checkers for the demo and the e2e tests.
export * from './build.ts';
export * from './capture.ts';
export * from './expect.ts';
export { sendFrames } from './kernel.ts';
export * from './namespaces.ts';
export * from './network.ts';
export * from './parse.ts';
export * from './process.ts';
export * from './state.ts';

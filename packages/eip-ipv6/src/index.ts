// Elastic IP addresses as pure code: pools, lifecycle, association, and what they add to images. Routes: `@openclb/eip-ipv6/plugin`.
export * from './association.ts';
export * from './compile.ts';
export * from './lifecycle.ts';
export * from './pool.ts';

// Named maxima of the control plane (tencent-cloud.md E7; data-plane.md P7, P12). The packet core has its own in `layout/limits.ts`.

export const LIMITS = {
  nameCharsMax: 80,
  idCharsMax: 60,
  loadBalancersMax: 10_000,
  vipsPerLoadBalancerMax: 20,
  listenersPerLoadBalancerMax: 50,
  rulesPerListenerMax: 50,
  domainsPerListenerMax: 100,
  targetsPerGroupMax: 100,
  certificatesPerListenerMax: 20,
  addressesPerInstanceMax: 16,
  instancesPerHostMax: 256,
  /** A proxy's /20 block holds one source address a VPC (data-plane.md P21). */
  vpcsMax: 4094,
  nodesMax: 4096,
  tunnelsPerDirectorMax: 64,
  weightMax: 100,
  accessRulesPerLoadBalancerMax: 10_000,
  accessRulesPerImageMax: 100_000,
  configBodyBytesMax: 16 * 1024 * 1024,
  bodyBytesMax: 1024 * 1024,
  linkMessageBytesMax: 4 * 1024 * 1024,
} as const;

/** Ports that Tencent keeps for itself and refuses to listen on (tencent-cloud.md E3). */
export const RESERVED_LISTEN_PORTS: readonly number[] = [
  843, 1020, 1433, 1434, 3306, 3389, 6006, 20_000, 36_000, 42_222, 48_369, 56_000, 65_010,
];

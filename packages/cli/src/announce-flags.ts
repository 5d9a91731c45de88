// Flags of a director that announces by itself, through BIRD: sessions of BGP, devices of OSPF, failure detection.
import type { BirdOptions } from '@openclb/l4';
import { isIP } from 'node:net';
import { usageError } from './errors.ts';
import type { Flags, FlagValues } from './flags.ts';

const words = { type: 'array', items: { type: 'string' }, minItems: 1, maxItems: 16 } as const;

export const announceFlags = {
  bgp: {
    schema: { ...words, description: 'announce by BGP (needs bird2): the switches, as AS@ADDRESS' },
    value: 'PEERS',
  },
  'bgp-as': {
    schema: { type: 'integer', minimum: 1, maximum: 4_294_967_294, default: 65_001, description: 'our AS number' },
    value: 'AS',
  },
  ospf: {
    schema: { ...words, description: 'announce by OSPF in area 0 (needs bird2): the devices' },
    value: 'DEVICES',
  },
  bfd: {
    schema: {
      type: 'string',
      enum: ['on', 'off'],
      default: 'on',
      description: 'failure detection in 3 x 100 ms on those sessions',
    },
    value: 'on|off',
  },
} as const satisfies Flags;

/** What BIRD is to speak, or undefined when neither BGP nor OSPF was asked for. */
export function birdOptionsOf(flags: FlagValues<typeof announceFlags>): BirdOptions | undefined {
  const peers = flags.bgp?.map(peerOf);
  for (const device of flags.ospf ?? [])
    if (!/^[\w.@:-]{1,15}$/.test(device)) throw usageError(`--ospf: '${device}' is no device`, 'see: ip link');
  if (peers === undefined && flags.ospf === undefined) return undefined;
  return {
    ...(peers === undefined ? {} : { bgp: { as: flags['bgp-as'], peers } }),
    ...(flags.ospf === undefined ? {} : { ospf: flags.ospf }),
    bfd: flags.bfd === 'on',
  };
}

function peerOf(text: string): { address: string; as: number } {
  const [, as = '', address = ''] = /^(\d{1,10})@([0-9a-f.:]+)$/i.exec(text) ?? [];
  if (isIP(address) === 0 || Number(as) < 1 || Number(as) > 4_294_967_294)
    throw usageError(`--bgp: '${text}' is not AS@ADDRESS`, 'for example 65000@10.255.0.0,65000@fd00:255:1::1');
  return { address, as: Number(as) };
}

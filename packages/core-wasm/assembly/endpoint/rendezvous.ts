// Rendezvous over the tunnel addresses of the image (P7.5): every endpoint gives one flow to one director without any state, and a
// change of the list moves only the flows of the address that came or went. Liveness is routing's business (P2).
import { ENDPOINT_TUNNEL_BYTES, EndpointTunnel, PacketRecord } from '../layout.gen';
import { isZero } from '../table/rows';
import { bank, finish, mix, state } from './bank';
import { isFragment, lookupProtocol } from './parse';

/** Tunnel address for this flow, 16 bytes, or 0 when no director can be reached from here. */
export function rendezvous(packet: PacketRecord): usize {
  const flow = flowHash(packet);
  const useV4 = !isZero(bank.underlay4);
  const useV6 = !isZero(bank.underlay6);
  let best: usize = 0;
  let bestVoice: u32 = 0;
  for (let index: u32 = 0; index < bank.tunnels; index++) {
    const tunnel = changetype<EndpointTunnel>(<usize>bank.tunnelRows + <usize>index * ENDPOINT_TUNNEL_BYTES);
    const address = useV4 && !isZero(tunnel.v4) ? tunnel.v4 : useV6 && !isZero(tunnel.v6) ? tunnel.v6 : 0;
    if (address == 0) continue;
    const voice = finish(mix(flow, tunnel.seed));
    if (best == 0 || voice > bestVoice) {
      best = address;
      bestVoice = voice;
    }
  }
  if (best != 0) state.rendezvous += 1;
  return best;
}

/** By addresses alone for fragments, so that all of them go one way. */
function flowHash(packet: PacketRecord): u32 {
  let hash = mix(packet.net, lookupProtocol(packet));
  for (let offset: usize = 0; offset < 16; offset += 4) {
    hash = mix(hash, load<u32>(packet.source + offset));
    hash = mix(hash, load<u32>(packet.destination + offset));
  }
  return isFragment(packet) ? hash : mix(hash, ((<u32>packet.sourcePort) << 16) | <u32>packet.destinationPort);
}

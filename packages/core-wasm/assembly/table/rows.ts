// Rows of the image by slot. Every slot that comes out of a table was checked when the image was written.
import {
  EIP_ROW_BYTES, EipRow, GROUP_ROW_BYTES, GroupRow, HOST_ROW_BYTES, Health, HostRow, LISTENER_ROW_BYTES, ListenerRow, MEMBER_ROW_BYTES,
  MemberRow, PORT_ROW_BYTES, PortRow, Scheduler, TARGET_ROW_BYTES, TUNNEL_ROW_BYTES, TargetRow, TunnelRow,
} from '../layout.gen';
import { eips, groups, health, hosts, listeners, members, portRows, targets, tunnels, worker } from '../memory';

export function listenerAt(slot: u32): ListenerRow { return ListenerRow.at(listeners + <usize>slot * LISTENER_ROW_BYTES); }
export function targetAt(slot: u32): TargetRow { return TargetRow.at(targets + <usize>slot * TARGET_ROW_BYTES); }
export function groupAt(slot: u32): GroupRow { return GroupRow.at(groups + <usize>slot * GROUP_ROW_BYTES); }
export function memberAt(row: u32): MemberRow { return MemberRow.at(members + <usize>row * MEMBER_ROW_BYTES); }
export function hostAt(slot: u32): HostRow { return HostRow.at(hosts + <usize>slot * HOST_ROW_BYTES); }
export function eipAt(row: u32): EipRow { return EipRow.at(eips + <usize>row * EIP_ROW_BYTES); }
export function portAt(index: u32): PortRow { return PortRow.at(portRows + <usize>index * PORT_ROW_BYTES); }
/** T(d,w) of this worker. */
export function ownTunnel(): TunnelRow { return TunnelRow.at(tunnels + <usize>worker * TUNNEL_ROW_BYTES); }
/** Live verdict of the health checker on a target. */
export function isUsable(target: u32): bool { return load<u8>(health + <usize>target) == <u8>Health.Alive; }
/** True where every director gives a client the same target, so that nobody needs to be asked for it. */
export function isHashed(listener: ListenerRow): bool {
  return listener.scheduler == <u8>Scheduler.Maglev || listener.scheduler == <u8>Scheduler.SourceHash;
}
/** True for sixteen zero bytes: no address. */
export function isZero(address: usize): bool { return (load<u64>(address) | load<u64>(address, 8)) == 0; }

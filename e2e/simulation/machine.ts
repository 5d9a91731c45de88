// A client or a server of the simulation: addresses, TCP and UDP. It knows which connections there are (the ledger), so that it sees at once
// what came to the wrong VPC, the wrong target or the wrong client.
import { Violation } from './checks.ts';
import { type VirtualClock } from './clock.ts';
import { type Connection, type Ledger } from './ledger.ts';
import { type Ends, Flag, type Packet, faultOf, readPacket, readTooBig, tcpPacket, udpPacket } from './packet.ts';
import { Tcp, connectionOf, stream, streamFault } from './tcp.ts';
import { SERVER_PORT } from './topology.ts';

export const PUSH_MS = 250;
const PUSH_BYTES = 160;
const BULK_BYTES = 24_000;

export interface MachineOptions {
  readonly name: string;
  /** Where its addresses mean something: 0 or a VPC. */
  readonly net: number;
  readonly addresses: readonly string[];
  readonly clock: VirtualClock;
  readonly ledger: Ledger;
  /** Initial sequence numbers. */
  random(): number;
  send(packet: Buffer): void;
}

interface Open {
  readonly tcp: Tcp;
  readonly connection: Connection;
  readonly isServer: boolean;
}

export class Machine {
  readonly options: MachineOptions;
  private readonly open = new Map<string, Open>();
  private readonly datagrams = new Map<string, Connection>();

  constructor(options: MachineOptions) {
    this.options = options;
  }

  get name(): string {
    return this.options.name;
  }

  /** A connection of ours; `ends` as we write them. */
  connect(connection: Connection, ends: Ends): Tcp {
    const tcp = this.newTcp(connection, ends, false, ((connection.id << 16) | 1) >>> 0);
    tcp.connect();
    return tcp;
  }

  openDatagrams(connection: Connection, ends: Ends): (number: number) => void {
    this.datagrams.set(keyOf(ends.source, ends.sourcePort, ends.destination, ends.destinationPort), connection);
    const tag = { connection: connection.id, direction: 0, net: connection.service.targetNet };
    return (number) => this.options.send(udpPacket(ends, stream(tag, number * 16, 16)));
  }

  receive(bytes: Buffer): void {
    const fault = faultOf(bytes);
    if (fault !== undefined) throw new Violation(`${this.name} got a packet with a wrong checksum: ${fault}`);
    const packet = readPacket(bytes);
    if (!this.options.addresses.includes(packet.destination))
      throw new Violation(`${this.name} got a packet for ${packet.destination}, which is not its own`);
    this.options.ledger.delivered++;
    const tooBig = readTooBig(packet);
    if (tooBig !== undefined) return this.narrow(tooBig.mtu, tooBig.quoted);
    if (packet.protocol === 6) this.receiveTcp(packet);
    else if (packet.protocol === 17) this.receiveUdp(packet);
  }

  /** The error quotes what we have sent, under the addresses that we know. */
  private narrow(mtu: number, quoted: Packet): void {
    const { source, sourcePort, destination, destinationPort } = quoted;
    const found = this.open.get(keyOf(source, sourcePort, destination, destinationPort));
    this.options.ledger.narrowed += found === undefined ? 0 : 1;
    found?.tcp.narrow(mtu, quoted.version === 6 ? 60 : 40);
  }

  private receiveTcp(packet: Packet): void {
    const key = keyOf(packet.destination, packet.destinationPort, packet.source, packet.sourcePort);
    const found = this.open.get(key);
    const isFirst = (packet.flags & (Flag.Syn | Flag.Ack)) === Flag.Syn;
    const isNew =
      isFirst && (found === undefined || (found.isServer && found.connection.id !== packet.sequence >>> 16));
    if (isNew && (found === undefined || found.tcp.isOver)) return this.accept(packet);
    if (found !== undefined) {
      this.checkStranger(packet, found.connection);
      return found.tcp.input(packet);
    }
    this.checkStray(packet);
    if ((packet.flags & Flag.Rst) === 0) this.refuse(packet);
  }

  private accept(syn: Packet): void {
    const { ledger, net, name } = this.options;
    const connection = ledger.connections[syn.sequence >>> 16];
    if (connection === undefined || syn.destinationPort !== SERVER_PORT)
      throw new Violation(`${name} got a SYN that nobody sent: ${syn.source}:${syn.sourcePort}, ${syn.sequence}`);
    ledger.arrivedAt(connection, name, net, true);
    const tcp = this.newTcp(connection, reverse(syn), true, this.options.random());
    tcp.accept(syn);
  }

  private newTcp(connection: Connection, ends: Ends, isServer: boolean, initialSequence: number): Tcp {
    const { clock, ledger, name } = this.options;
    const net = connection.service.targetNet;
    const [ours, theirs] = isServer ? [1, 0] : [0, 1];
    const tcp: Tcp = new Tcp({
      clock,
      ends,
      initialSequence,
      mss: ends.source.includes(':') ? 1_440 : 1_460,
      out: { connection: connection.id, direction: ours, net },
      in: { connection: connection.id, direction: theirs, net },
      send: this.options.send,
      onData: (total) => (isServer ? this.serve(connection, tcp, total) : ledger.heard(connection)),
      onState: (state) => ledger.became(connection, isServer ? name : 'client', state, tcp),
      onFault: (fault) => {
        throw new Violation(`${name}, connection ${connection.id}: bytes of another stream: ${fault}`);
      },
    });
    this.open.set(keyOf(ends.source, ends.sourcePort, ends.destination, ends.destinationPort), {
      tcp,
      connection,
      isServer,
    });
    return tcp;
  }

  /** What servers do: echo, send by themselves, or send much. */
  private serve(connection: Connection, tcp: Tcp, total: number): void {
    this.options.ledger.heard(connection);
    if (connection.app === 'talk') return tcp.write(total - connection.answered(total));
    if (connection.answered(total) > 0) return;
    if (connection.app === 'bulk') return tcp.write(BULK_BYTES);
    const stop = this.options.clock.every(PUSH_MS, () => {
      if (tcp.state !== 'established') stop();
      else tcp.write(PUSH_BYTES);
    });
  }

  /** Data of somebody else under a tuple that we know. */
  private checkStranger({ payload }: Packet, connection: Connection): void {
    const id = connectionOf(payload);
    const other = id === undefined ? undefined : this.options.ledger.connections[id];
    if (other !== undefined && other !== connection && other.service.targetNet !== connection.service.targetNet)
      throw new Violation(`${this.name} got data of connection ${id} of VPC ${other.service.targetNet}`);
  }

  /** A segment of no connection of ours is at least of our VPC. */
  private checkStray(packet: Packet): void {
    const { ledger, net, name } = this.options;
    const id = connectionOf(packet.payload);
    const connection = id === undefined ? undefined : ledger.connections[id];
    const isAnswer = (packet.payload[3] ?? 0) === 1;
    if (connection !== undefined && net !== 0 && !isAnswer) ledger.arrivedAt(connection, name, net, false);
    if (net === 0 || packet.destinationPort !== SERVER_PORT) return;
    const isKnown = ledger.connections.some(
      ({ client, clientPort, service }) =>
        clientPort === packet.sourcePort &&
        client.options.addresses.includes(packet.source) &&
        service.targetNet === net,
    );
    if (!isKnown)
      throw new Violation(`${name} got a segment of nobody in VPC ${net}: ${packet.source}:${packet.sourcePort}`);
  }

  private refuse(packet: Packet): void {
    const hasAck = (packet.flags & Flag.Ack) !== 0;
    const next =
      (packet.sequence + packet.payload.length + ((packet.flags & (Flag.Syn | Flag.Fin)) !== 0 ? 1 : 0)) >>> 0;
    const segment = hasAck
      ? { flags: Flag.Rst, sequence: packet.acknowledgement, acknowledgement: 0 }
      : { flags: Flag.Rst | Flag.Ack, sequence: 0, acknowledgement: next };
    this.options.send(tcpPacket(reverse(packet), segment));
  }

  private receiveUdp(packet: Packet): void {
    const { ledger, net, name } = this.options;
    const key = keyOf(packet.destination, packet.destinationPort, packet.source, packet.sourcePort);
    const ours = this.datagrams.get(key);
    const id = connectionOf(packet.payload);
    const connection = id === undefined ? undefined : ledger.connections[id];
    if (connection === undefined) throw new Violation(`${name} got a datagram of nobody`);
    if (ours !== undefined && ours !== connection) throw new Violation(`${name} got an answer to connection ${id}`);
    const direction = ours === undefined ? 0 : 1;
    const tag = { connection: connection.id, direction, net: connection.service.targetNet };
    const offset = packet.payload.readUInt32BE(12);
    const fault = streamFault(tag, offset, packet.payload);
    if (fault !== undefined) throw new Violation(`${name}: ${fault}`);
    if (ours !== undefined) return ledger.heard(ours);
    ledger.arrivedAt(connection, name, net, false);
    this.options.send(udpPacket(reverse(packet), stream({ ...tag, direction: 1 }, offset, 16)));
  }
}

const keyOf = (local: string, localPort: number, remote: string, remotePort: number): string =>
  `${local} ${localPort} ${remote} ${remotePort}`;

const reverse = ({ source, sourcePort, destination, destinationPort }: Ends): Ends => ({
  source: destination,
  sourcePort: destinationPort,
  destination: source,
  destinationPort: sourcePort,
});

// A director with SYN proxy and domains, a client and a target whose segments are written by hand (data-plane.md P26, P27). Reads and
// writes TCP by itself, so that it can judge the core.
import { gre, ipPacket, type tcp } from '../../../tools/testkit/build.ts';
import { ethernet } from '../../../tools/testkit/build.ts';
import { type IpLayer, parseFrame } from '../../../tools/testkit/parse.ts';
import { Verdict } from '../layout/index.ts';
import { type Binding, bindingCounters, cookieKeys, openBinding, writeCookieKeys } from '../src/index.ts';
import {
  CLIENT,
  DIRECTOR_MAC,
  HOST1,
  HOST2,
  SWITCH_MAC,
  T1,
  TABLES,
  VIP,
  VM_A1,
  VM_A2,
  type DirectorUnderTest,
  director,
  id,
} from './director-fixture.ts';

export const SECRET = Buffer.alloc(32, 7);
export const UNIX_MS = 1_790_000_000_000;

export interface Segment {
  flags: string;
  sequence: number;
  acknowledgment: number;
  window: number;
  mss?: number;
  scale?: number;
  sackPermitted?: boolean;
  /** TSval and TSecr. */
  timestamp?: readonly [number, number];
  /** Edges of SACK blocks, in pairs. */
  sack?: readonly number[];
  data: Buffer;
}

const LETTERS = ['F', 'S', 'R', 'P', 'A'];
const u32 = (value: number): Buffer =>
  Buffer.from([value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]);

export function segment(sourcePort: number, destinationPort: number, more: Partial<Segment>): ReturnType<typeof tcp> {
  const options: Buffer[] = [];
  if (more.mss !== undefined) options.push(Buffer.from([2, 4, more.mss >> 8, more.mss & 255]));
  if (more.sackPermitted) options.push(Buffer.from([1, 1, 4, 2]));
  if (more.timestamp) options.push(Buffer.from([1, 1, 8, 10]), u32(more.timestamp[0]), u32(more.timestamp[1]));
  if (more.scale !== undefined) options.push(Buffer.from([1, 3, 3, more.scale]));
  if (more.sack) options.push(Buffer.from([1, 1, 5, 2 + more.sack.length * 4]), ...more.sack.map(u32));
  const list = Buffer.concat(options);
  const header = Buffer.alloc(20);
  header.writeUInt16BE(sourcePort, 0);
  header.writeUInt16BE(destinationPort, 2);
  header.writeUInt32BE((more.sequence ?? 0) >>> 0, 4);
  header.writeUInt32BE((more.acknowledgment ?? 0) >>> 0, 8);
  header[12] = ((20 + list.length) / 4) << 4;
  header[13] = [...(more.flags ?? 'A')].reduce((bits, letter) => bits | (1 << LETTERS.indexOf(letter)), 0);
  header.writeUInt16BE(more.window ?? 502, 14);
  return { protocol: 6, bytes: Buffer.concat([header, list, more.data ?? Buffer.alloc(0)]), checksumAt: 16 };
}

/** The segment of the packet that starts `bytes`: IPv4 or IPv6 without extension headers. */
export function readSegment(bytes: Buffer): Segment {
  const at = bytes[0]! >> 4 === 4 ? (bytes[0]! & 15) * 4 : 40;
  const total = bytes[0]! >> 4 === 4 ? bytes.readUInt16BE(2) : 40 + bytes.readUInt16BE(4);
  const end = at + (bytes[at + 12]! >> 4) * 4;
  const found: Segment = {
    flags: LETTERS.filter((_, bit) => (bytes[at + 13]! >> bit) & 1).join(''),
    sequence: bytes.readUInt32BE(at + 4),
    acknowledgment: bytes.readUInt32BE(at + 8),
    window: bytes.readUInt16BE(at + 14),
    data: bytes.subarray(end, total),
  };
  for (let option = at + 20; option < end && bytes[option] !== 0;) {
    const kind = bytes[option]!;
    if (kind === 1) {
      option++;
      continue;
    }
    const length = bytes[option + 1]!;
    if (kind === 2) found.mss = bytes.readUInt16BE(option + 2);
    if (kind === 3) found.scale = bytes[option + 2]!;
    if (kind === 4) found.sackPermitted = true;
    if (kind === 8) found.timestamp = [bytes.readUInt32BE(option + 2), bytes.readUInt32BE(option + 6)];
    if (kind === 5)
      found.sack = Array.from({ length: (length - 2) / 4 }, (_, index) => bytes.readUInt32BE(option + 2 + index * 4));
    option += length;
  }
  return found;
}

/** What left the director: to the client, or through the tunnel to a VM. */
export interface Left extends Segment {
  readonly to: 'client' | typeof VM_A1 | typeof VM_A2;
  readonly ip: IpLayer;
}

export interface Bench {
  readonly under: DirectorUnderTest;
  readonly binding: Binding;
  nowMs: number;
  /** A segment of the client; what leaves because of it. */
  client(more: Partial<Segment>, port?: number): Left[];
  /** A segment of a VM. */
  target(more: Partial<Segment>, vm?: string, port?: number): Left[];
  /** Time goes by, a timer tick every 10 ms. */
  wait(ms: number): Left[];
  counters(): Record<string, number>;
  /** Verdict and reason of the last packet. */
  readonly last: string;
}

export const SYN_PROXY = 80;
export const BY_DOMAIN = 200;
export const AUTO = 81;

const tables = {
  ...TABLES,
  listeners: TABLES.listeners.map((listener) => {
    if (listener.vport === SYN_PROXY) return { ...listener, synProxy: 'on' as const };
    if (listener.vport === AUTO) return { ...listener, synProxy: 'auto' as const, synRate: 100 };
    if (listener.vport !== BY_DOMAIN) return listener;
    return {
      ...listener,
      group: id('ga1'),
      domains: [
        { domain: 'two.example', group: id('ga2') },
        { domain: '*.Wild.example', group: id('ga2') },
        { domain: 'one.wild.example', group: id('ga1') },
      ],
    };
  }),
  groups: [
    ...TABLES.groups,
    { id: id('ga2'), slots: 251, targets: [{ target: id('a2'), weight: 1 }], check: { type: 'tcp' } },
  ],
};

export async function bench(vport: number = SYN_PROXY): Promise<Bench> {
  const under = await director({ artefact: 'shared', plan: { pending: 16 }, withoutImage: true });
  under.apply(tables);
  const binding = await openBinding(under.plan, under.memory, 0);
  writeCookieKeys(under.memory, under.plan.map.cookies, await cookieKeys(SECRET, UNIX_MS), UNIX_MS);
  let last = '';
  const self: Bench = {
    under,
    binding,
    nowMs: 5_000,
    client: (more, port = 40000) => into(ipPacket(CLIENT, VIP, segment(port, vport, more))),
    target(more, vm = VM_A1, port = 40000) {
      const inner = ipPacket(vm, CLIENT, segment(8080, port, more));
      return into(ipPacket(vm === VM_A1 ? HOST1 : HOST2, T1, gre(100, inner)));
    },
    wait(ms) {
      const left: Left[] = [];
      for (const end = self.nowMs + ms; self.nowMs < end;) {
        self.nowMs += 10;
        left.push(...read(binding.tick(self.nowMs)));
      }
      return left;
    },
    counters: () => ({ ...bindingCounters(under.plan, under.memory, 0), ...under.core.counters() }),
    get last() {
      return last;
    },
  };
  function into(packet: Buffer): Left[] {
    under.core.inject([ethernet(SWITCH_MAC, DIRECTOR_MAC, packet)], 0);
    const all = under.core.forwardBurst(1, self.nowMs);
    const records = binding.burst(1, all, self.nowMs);
    last = `${under.core.verdict(0)}/${under.core.reason(0)}`;
    return read(records);
  }
  function read(records: number): Left[] {
    return Array.from({ length: records }, (_, index) => index)
      .filter((index) => under.core.verdict(index) === Verdict.Forward)
      .map((index) => {
        const frame = Buffer.from(under.core.frame(index));
        const outer = parseFrame(frame).ip as IpLayer;
        const packet = frame.subarray(outer.gre ? 14 + 28 : 14);
        const ip = outer.inner ?? outer;
        return { ...readSegment(packet), ip, to: (outer.gre ? ip.destination : 'client') as Left['to'] };
      });
  }
  return self;
}

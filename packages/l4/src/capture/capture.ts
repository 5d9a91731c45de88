// The main thread's end of `clb capture`: one capture at a time, whose newest packets wait in a bounded queue until a page is asked for.
// Nobody has to end it: three seconds after the last page the workers stop copying.
import { type Core, type ExplainNames } from '@openclb/core-wasm';
import { LinkKind, PortRow } from '@openclb/core-wasm/layout';
import { CAPTURE_ROWS_MAX, type LookAnswer, type LookFilter, type LookFrame, type LookQuery } from '@openclb/model';
import { commentOf } from './comment.ts';
import { type TappedPacket, recordMatch } from './tap.ts';

const LEASE_MS = 3_000;
/** Frames that wait for their reader. */
const QUEUE_MAX = 4_096;

export interface CaptureOptions {
  readonly node: string;
  readonly device: string;
  readonly core: Core;
  readonly names: ExplainNames;
  /** Tells the workers what to copy; null: nothing. */
  tap(filter: LookFilter | null): void;
}

export interface Capture {
  /** The first page, without a cursor, begins the capture and ends another one. Throws what is wrong with the question. */
  page(query: LookQuery): LookAnswer;
  take(packets: readonly TappedPacket[], missed: number): void;
  close(): void;
}

export function createCapture(options: CaptureOptions): Capture {
  let session: string | null = null;
  let queue: LookFrame[] = [];
  let missed = 0;
  let sequence = 0;
  let lease: NodeJS.Timeout | undefined;

  function end(): void {
    clearTimeout(lease);
    if (session !== null) options.tap(null);
    session = null;
    queue = [];
  }

  function begin(name: string, filter: LookFilter): void {
    // Asked here as well, because what is wrong with a filter must reach whoever wrote it.
    recordMatch(options.core, filter);
    end();
    session = name;
    missed = 0;
    sequence = 0;
    options.tap(filter);
  }

  return {
    page({ session: name, filter = {}, cursor, limit = CAPTURE_ROWS_MAX }) {
      if (name === undefined) throw new RangeError('a capture needs the name of its session');
      if (cursor === undefined) begin(name, filter);
      else if (session !== name)
        throw new RangeError('the capture has ended: another one has begun, or nobody read it');
      clearTimeout(lease);
      lease = setTimeout(end, LEASE_MS);
      lease.unref();
      const rows = queue.splice(0, Math.min(limit, CAPTURE_ROWS_MAX));
      sequence += rows.length;
      const answer = { node: options.node, rows: rows as unknown as LookAnswer['rows'], next: sequence, missed };
      missed = 0;
      return answer;
    },
    take(packets, more) {
      if (session === null) return;
      missed += more;
      for (const packet of packets) {
        const frames = framesOf(options, packet);
        if (queue.length + frames.length > QUEUE_MAX) missed++;
        else queue.push(...frames);
      }
    },
    close: end,
  };
}

/** The packet as it came and as it went, each with what the walk found out. */
function framesOf({ core, names, device }: CaptureOptions, packet: TappedPacket): LookFrame[] {
  const row = core.plan.map.portRows;
  const ethernet = core.view.getUint16(row + PortRow.at.kind, true) === LinkKind.Ethernet;
  const at = String(BigInt(Math.round(packet.atMs * 1_000)) * 1_000n);
  const comment = commentOf(packet, names);
  const frame = (bytes: Uint8Array, direction: LookFrame['direction']): LookFrame => ({
    at,
    direction,
    device,
    frame: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64'),
    bytes: bytes.length,
    ethernet,
    comment,
  });
  return [
    ...(packet.received === null ? [] : [frame(packet.received, 'inbound')]),
    ...(packet.sent === null ? [] : [frame(packet.sent, 'outbound')]),
  ];
}

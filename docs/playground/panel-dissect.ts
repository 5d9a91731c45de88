// First panel: a pasted dump or a dropped capture file, dissected.
import { CaptureError, type CapturedFrame, type StandaloneCore, readCapture, writePcapng } from '@openclb/core-wasm';
import { attempt, card, fill, h, labelled, select, verdict } from './dom.ts';
import { formatHex, parseHex } from './hex.ts';
import { frameView } from './layers.ts';
import { SAMPLES } from './samples.ts';
import type { State } from './state.ts';

const FRAMES_SHOWN = 500;
const LINKS = [
  ['1', 'Ethernet'],
  ['101', 'IP'],
  ['113', 'Linux cooked'],
  ['276', 'Linux cooked v2'],
  ['0', 'BSD loopback'],
] as const;

export function dissectPanel(state: State): HTMLElement {
  const dump = h('textarea', { rows: 8, spellcheck: 'false', 'aria-label': 'Hexadecimal dump' });
  const output = h('div', { 'aria-live': 'polite' });
  const list = h('div', {});
  const render = (): void => attempt(output, () => frameView(state.core, state.frame.bytes, state.frame.linkType, 2));
  const link = select(LINKS, () => take());
  const take = (): void =>
    attempt(output, () => {
      state.setFrame({ bytes: parseHex(dump.value), linkType: Number(link.value) });
      return frameView(state.core, state.frame.bytes, state.frame.linkType, 2);
    });
  const show = (bytes: Uint8Array, linkType: number): void => {
    dump.value = formatHex(bytes);
    link.value = String(linkType);
    state.setFrame({ bytes: bytes.slice(), linkType });
  };
  dump.addEventListener('input', take);
  const samples = select(
    SAMPLES.map(({ name }, at) => [String(at), name] as const),
    () => {
      const sample = SAMPLES[Number(samples.value)];
      if (sample !== undefined) show(parseHex(sample.hex), sample.linkType);
    },
  );
  // Other panels choose frames as well.
  state.onFrame(() => {
    const { bytes, linkType } = state.frame;
    if (document.activeElement === dump) return;
    dump.value = formatHex(bytes);
    link.value = String(linkType);
    render();
  });
  show(state.frame.bytes, state.frame.linkType);
  return h(
    'div',
    { class: 'columns' },
    h(
      'div',
      { class: 'stack' },
      card(
        'Frame',
        h('div', { class: 'row' }, labelled('Sample', samples), labelled('Begins with', link)),
        dump,
        h('p', { class: 'hint' }, 'Digits, or a dump of xxd, hexdump -C, tcpdump -xx or Wireshark.'),
        dropZone(async (file) => openCapture(state.core, file, list, show)),
        list,
        h('p', {}, h('button', { type: 'button', onclick: () => save(state) }, 'Save the frame as pcapng')),
      ),
    ),
    card('Dissection', output),
  );
}

function dropZone(open: (file: File) => Promise<void>): HTMLElement {
  const chooser = h('input', {
    type: 'file',
    accept: '.pcap,.pcapng,.cap',
    'aria-label': 'Capture file',
    onchange: () => void (chooser.files?.[0] !== undefined && open(chooser.files[0])),
  });
  const zone = h('div', { class: 'drop' }, 'Drop a pcap or pcapng file here, or choose one:', chooser);
  const over = (isOver: boolean) => (event: Event) => {
    event.preventDefault();
    zone.classList.toggle('over', isOver);
  };
  zone.addEventListener('dragover', over(true));
  zone.addEventListener('dragleave', over(false));
  zone.addEventListener('drop', (event) => {
    over(false)(event);
    const file = event.dataTransfer?.files[0];
    if (file !== undefined) void open(file);
  });
  return zone;
}

type Show = (bytes: Uint8Array, linkType: number) => void;

async function openCapture(core: StandaloneCore, file: File, list: HTMLElement, show: Show): Promise<void> {
  const frames: CapturedFrame[] = [];
  let complaint: HTMLElement | null = null;
  let more = 0;
  try {
    for (const frame of readCapture(new Uint8Array(await file.arrayBuffer()))) {
      if (frames.length < FRAMES_SHOWN) frames.push(frame);
      else more++;
    }
  } catch (error) {
    if (!(error instanceof CaptureError)) throw error;
    complaint = verdict(false, `Refused at byte ${error.offset}`, error.message);
  }
  const start = frames.find(({ nanoseconds }) => nanoseconds !== null)?.nanoseconds ?? 0n;
  const rows = frames.map((frame, at) => frameRow(core, frame, at, start));
  const choose = (at: number): void => {
    for (const [other, row] of rows.entries()) row.setAttribute('aria-selected', String(other === at));
    const frame = frames[at];
    if (frame !== undefined) show(frame.frame, frame.interface.linkType);
  };
  for (const [at, row] of rows.entries()) {
    row.addEventListener('click', () => choose(at));
    row.addEventListener('keydown', (event) => event.key === 'Enter' && choose(at));
  }
  const count = `${frames.length + more} frames${more > 0 ? `, the first ${FRAMES_SHOWN} listed` : ''}`;
  const head = ['', 'seconds', 'bytes', 'what'].map((text) => h('th', { scope: 'col' }, text));
  fill(
    list,
    h('p', { class: 'hint' }, `${file.name}: ${count}.`),
    complaint,
    h('div', { class: 'frames' }, h('table', {}, h('thead', {}, h('tr', {}, ...head)), h('tbody', {}, ...rows))),
  );
  choose(0);
}

function frameRow(core: StandaloneCore, frame: CapturedFrame, at: number, start: bigint): HTMLTableRowElement {
  const { layers, verdict: found } = core.dissect(frame.frame, { linkType: frame.interface.linkType });
  const seconds = frame.nanoseconds === null ? '' : (Number(frame.nanoseconds - start) / 1e9).toFixed(6);
  const what = layers
    .map(({ title }) => title)
    .slice(1)
    .join(' · ');
  return h(
    'tr',
    { tabindex: 0, 'aria-selected': 'false' },
    h('td', { class: 'number' }, at + 1),
    h('td', { class: 'number' }, seconds),
    h('td', { class: 'number' }, frame.wireBytes),
    h('td', {}, what, found.isAccepted ? '' : h('span', { class: 'problem' }, ` ${found.code}`)),
  );
}

function save(state: State): void {
  const { bytes, linkType } = state.frame;
  const nanoseconds = BigInt(Date.now()) * 1_000_000n;
  const file = writePcapng([{ frame: bytes, nanoseconds, interface: { name: 'playground', linkType } }]);
  const url = URL.createObjectURL(new Blob([file.slice()], { type: 'application/octet-stream' }));
  h('a', { href: url, download: 'playground.pcapng' }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

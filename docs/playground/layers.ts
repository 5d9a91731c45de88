// A dissected frame on the page: bytes with their layers underlined, and a card of fields for every layer. Pointing at a field marks its bytes.
import type { DissectedField, DissectedLayer, Dissection, StandaloneCore } from '@openclb/core-wasm';
import { h, verdict } from './dom.ts';

const COLOURS: Readonly<Record<string, string>> = {
  ethernet: '#8d99ae',
  vlan: '#7f8c5a',
  arp: '#a3764f',
  ipv4: '#2f6fed',
  ipv6: '#7a4fe0',
  tcp: '#d1495b',
  udp: '#e08e2b',
  sctp: '#b5549c',
  icmp: '#11907f',
  icmpv6: '#11907f',
  gre: '#2a9d4b',
  vxlan: '#2a9d4b',
};
const OTHER = '#6c7a93';
const colourOf = (protocol: string): string => COLOURS[protocol] ?? OTHER;

/** Hexadecimal view; the returned function marks a range of bytes. */
function bytesView(frame: Uint8Array, layers: readonly DissectedLayer[]) {
  const cells: HTMLElement[] = [];
  const colours = Array.from({ length: frame.length }, () => '');
  for (const layer of layers) colours.fill(colourOf(layer.protocol), layer.offset, layer.offset + layer.bytes);
  const view = h('pre', { class: 'hex', tabindex: 0, role: 'region', 'aria-label': 'Bytes' });
  for (let at = 0; at < frame.length; at++) {
    if (at % 16 === 0) {
      view.append(h('span', { class: 'offset' }, `${at === 0 ? '' : '\n'}${at.toString(16).padStart(4, '0')}  `));
    } else if (at % 8 === 0) view.append(' ');
    const cell = h('i', {}, (frame[at] ?? 0).toString(16).padStart(2, '0'));
    if (colours[at]) cell.style.setProperty('--layer', colours[at] ?? '');
    cells.push(cell);
    view.append(cell);
  }
  const mark = (from: number, bytes: number): void => {
    for (const [at, cell] of cells.entries()) cell.classList.toggle('marked', at >= from && at < from + bytes);
  };
  return { view, mark };
}

type Mark = (from: number, bytes: number) => void;

function fieldRow(field: DissectedField, mark: Mark): HTMLElement {
  const show = (): void => mark(field.offset, field.bytes);
  const hide = (): void => mark(0, 0);
  const value = typeof field.value === 'number' ? String(field.value) : field.value;
  return h(
    'tr',
    { class: 'field', tabindex: 0, onmouseenter: show, onmouseleave: hide, onfocus: show, onblur: hide },
    h('td', { class: 'number' }, field.offset),
    h('td', { class: 'number' }, field.bytes),
    h('td', {}, field.name),
    h('td', { class: 'value' }, value.length > 96 ? `${value.slice(0, 96)}…` : value),
    h('td', {}, field.problem === undefined ? (field.meaning ?? '') : h('span', { class: 'problem' }, field.problem)),
  );
}

/** What a closed layer says of itself. */
function summaryOf(layer: DissectedLayer): string {
  const value = (name: string): string | undefined =>
    layer.fields.find((field) => field.name === name)?.value.toString();
  const meaning = (name: string): string | undefined => layer.fields.find((field) => field.name === name)?.meaning;
  const ends = value('source') ?? value('sender address') ?? value('source port');
  const to = value('destination') ?? value('target address') ?? value('destination port');
  const parts = [
    ends === undefined ? undefined : `${ends} → ${to}`,
    layer.protocol === 'tcp' ? meaning('flags') : undefined,
    value('key') === undefined ? undefined : `key ${value('key')}`,
    value('vlan') === undefined ? undefined : `vlan ${value('vlan')}`,
    meaning('type'),
  ];
  return parts.filter((part) => part !== undefined).join(' · ');
}

function layerCard(layer: DissectedLayer, isOpen: boolean, mark: Mark): HTMLElement {
  const details = h(
    'details',
    { class: layer.isQuoted ? 'layer quoted' : 'layer', open: isOpen },
    h(
      'summary',
      { onmouseenter: () => mark(layer.offset, layer.bytes), onmouseleave: () => mark(0, 0) },
      layer.isQuoted ? `${layer.title}, quoted` : layer.title,
      h('small', {}, summaryOf(layer)),
      layer.problem === undefined ? null : h('span', { class: 'flag' }, '⚠ wrong'),
    ),
    h(
      'div',
      { class: 'scroll' },
      h(
        'table',
        {},
        h(
          'thead',
          {},
          h(
            'tr',
            {},
            ...['at', 'bytes'].map((text) => h('th', { class: 'number', scope: 'col' }, text)),
            ...['field', 'value', 'meaning'].map((text) => h('th', { scope: 'col' }, text)),
          ),
        ),
        h('tbody', {}, ...layer.fields.map((field) => fieldRow(field, mark))),
      ),
    ),
  );
  details.style.setProperty('--layer', colourOf(layer.protocol));
  return details;
}

function payloadText({ payload, padding }: Dissection): string {
  const parts = [payload.bytes === 0 ? 'no payload' : `${payload.bytes} bytes of payload`];
  if (padding > 0) parts.push(`${padding} bytes of Ethernet padding`);
  return parts.join(', ');
}

/** The whole view of a frame. `open` says how many of the innermost layers begin opened. */
export function frameView(core: StandaloneCore, frame: Uint8Array, linkType: number, open = 1): HTMLElement[] {
  const dissection = core.dissect(frame, { linkType });
  const { verdict: found } = dissection;
  const { view, mark } = bytesView(frame, dissection.layers);
  const from = dissection.layers.length - open;
  return [
    verdict(found.isAccepted, found.isAccepted ? 'The core accepts it' : `The core: ${found.code}`, found.meaning),
    view,
    h('p', { class: 'hint' }, `${frame.length} bytes, ${payloadText(dissection)}.`),
    ...dissection.layers.map((layer, at) => layerCard(layer, at >= from || layer.problem !== undefined, mark)),
  ];
}

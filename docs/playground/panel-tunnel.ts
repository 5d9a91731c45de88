// Third panel: the packet in hand inside GRE or inside IP, and out again.
import { attempt, card, h, input, labelled, select, verdict } from './dom.ts';
import { frameView } from './layers.ts';
import type { State } from './state.ts';

const RAW_IP = 101;

export function tunnelPanel(state: State): HTMLElement {
  const output = h('div', { class: 'halves', 'aria-live': 'polite' });
  const kind = select(
    [
      ['gre', 'GRE with a key (RFC 2890)'],
      ['ipip', 'IP in IP (RFC 2003)'],
    ],
    () => render(),
  );
  const source = input('10.254.1.1', () => render());
  const destination = input('10.255.0.11', () => render());
  const key = input('100', () => render(), { type: 'number', min: 0, max: 4294967295 });
  const mss = input('1500', () => render(), { type: 'number', min: 576, max: 9000 });
  const render = (): void =>
    attempt(output, () => {
      const { core } = state;
      const packet = state.ipPacket();
      const ends = { source: source.value.trim(), destination: destination.value.trim() };
      const outer =
        kind.value === 'gre'
          ? core.encapsulateGre(packet, { ...ends, key: Number(key.value) })
          : core.encapsulateIpip(packet, ends);
      const back = core.decapsulate(outer);
      const isSame = back.packet.length === packet.length && back.packet.every((byte, at) => byte === packet[at]);
      const overhead = outer.length - packet.length;
      return [
        card('The packet', ...frameView(core, packet, RAW_IP, 0)),
        card(
          'In the tunnel',
          verdict(
            isSame,
            isSame ? 'Out again unchanged' : 'Not the same again',
            `${overhead} bytes of outer headers; over a link of ${mss.value} bytes the inner packet may have ${Number(mss.value) - overhead}.`,
          ),
          ...frameView(core, outer, RAW_IP, 0).slice(1),
        ),
      ];
    });
  state.onFrame(render);
  render();
  const controls = h(
    'div',
    { class: 'row' },
    labelled('Tunnel', kind),
    labelled('Outer source', source),
    labelled('Outer destination', destination),
    labelled('Key: the VPC id', key),
    labelled('MTU of the link', mss),
  );
  return h('div', { class: 'stack' }, card('Encapsulate the frame of the first panel', controls), output);
}

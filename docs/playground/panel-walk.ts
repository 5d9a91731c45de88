// Fifth panel: the walk of the packet in hand through tables of one's own, step by step, on the tracing core.
import { type Explainer, type SmallTables, createExplainer } from '@openclb/core-wasm/explain';
import { attempt, card, fill, h, verdict } from './dom.ts';
import { frameView } from './layers.ts';
import type { State } from './state.ts';

const TABLES: SmallTables = {
  listeners: [
    {
      name: 'web',
      vip: '203.0.113.10',
      port: 80,
      targets: [
        { name: 'vm-1', address: '10.0.0.2', port: 8080, vpcId: 100, host: '10.255.0.11' },
        { name: 'vm-2', address: '10.0.0.3', port: 8080, vpcId: 100, host: '10.255.0.12', weight: 3 },
      ],
    },
    {
      name: 'dns',
      vip: '203.0.113.10',
      port: 53,
      protocol: 'udp',
      targets: [{ address: '10.255.0.31', host: '10.255.0.31' }],
    },
  ],
  eips: [{ eip: '203.0.113.77', vpcId: 100, address: '10.0.0.9', host: '10.255.0.11' }],
};
const RAW_IP = 101;

export function walkPanel(state: State): HTMLElement {
  const text = h('textarea', { rows: 24, spellcheck: 'false', 'aria-label': 'Tables of the director' });
  text.value = JSON.stringify(TABLES, null, 2);
  const output = h('div', { 'aria-live': 'polite' });
  const flows = h('p', { class: 'hint' });
  let explainer: Explainer | null = null;
  const render = (): void =>
    attempt(output, () => {
      if (explainer === null) return [h('p', { class: 'hint' }, 'Starting the director…')];
      fill(flows, `Flows in its table: ${explainer.counters().flowsActive ?? 0}.`);
      const told = explainer.explain(state.ipPacket());
      const isForwarded = told.verdict === 'Forward';
      const steps = told.steps.map((step) => h('li', {}, h('b', {}, step.step), step.text));
      const leaves = isForwarded ? frameView(state.core, told.frame, RAW_IP, 0).slice(1) : [];
      return [
        verdict(isForwarded, told.verdict, isForwarded ? 'This leaves the director:' : told.reason),
        ...leaves,
        h('h2', {}, 'Step by step'),
        h('ol', { class: 'walk' }, ...steps),
      ];
    });
  const forward = (): void =>
    attempt(output, () => {
      explainer?.forward(state.ipPacket());
      queueMicrotask(render);
      return [];
    });
  const restart = async (): Promise<void> => {
    try {
      explainer = await createExplainer(JSON.parse(text.value) as SmallTables);
      render();
    } catch (error) {
      fill(output, verdict(false, 'The tables are refused', error instanceof Error ? error.message : String(error)));
    }
  };
  text.addEventListener('input', () => void restart());
  state.onFrame(render);
  void restart();
  return h(
    'div',
    { class: 'columns' },
    card(
      'A director of your own',
      h('p', { class: 'hint' }, 'Listeners, targets and EIPs; what is left out has a default.'),
      text,
      flows,
      h('button', { type: 'button', class: 'primary', onclick: forward }, 'Forward the packet: make its flow'),
    ),
    card('The walk of the frame of the first panel', output),
  );
}

// The playground: loads the core, makes the panels, and shows the one that the address names.
import { createCore } from '@openclb/core-wasm';
import { fill, h, verdict } from './dom.ts';
import { dissectPanel } from './panel-dissect.ts';
import { maglevPanel } from './panel-maglev.ts';
import { nat64Panel } from './panel-nat64.ts';
import { tunnelPanel } from './panel-tunnel.ts';
import { walkPanel } from './panel-walk.ts';
import { type State, createState } from './state.ts';

const PANELS: readonly (readonly [id: string, title: string, make: (state: State) => HTMLElement])[] = [
  ['dissect', 'Dissect', dissectPanel],
  ['nat64', 'NAT64', nat64Panel],
  ['tunnel', 'GRE', tunnelPanel],
  ['maglev', 'Maglev', maglevPanel],
  ['walk', 'Walk', walkPanel],
];

function show(state: State, tabs: HTMLElement, main: HTMLElement): void {
  const made = PANELS.map(([id, title, make]) => {
    const tab = h('button', { type: 'button', role: 'tab', id: `tab-${id}`, 'aria-controls': id }, title);
    const panel = h('div', { role: 'tabpanel', id: `panel-${id}`, 'aria-labelledby': `tab-${id}` }, make(state));
    tab.setAttribute('aria-controls', panel.id);
    return { id, tab, panel };
  });
  const choose = (id: string, isFocused = false): void => {
    const chosen = made.find((panel) => panel.id === id) ?? made[0];
    for (const { tab, panel } of made) {
      const isChosen = tab === chosen?.tab;
      tab.setAttribute('aria-selected', String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      panel.hidden = !isChosen;
      if (isChosen && isFocused) tab.focus();
    }
  };
  for (const [at, { id, tab }] of made.entries()) {
    tab.addEventListener('click', () => (location.hash = id));
    tab.addEventListener('keydown', ({ key }) => {
      const step = key === 'ArrowRight' ? 1 : key === 'ArrowLeft' ? -1 : 0;
      const next = made[(at + step + made.length) % made.length];
      if (step === 0 || next === undefined) return;
      location.hash = next.id;
      choose(next.id, true);
    });
  }
  addEventListener('hashchange', () => choose(location.hash.slice(1)));
  fill(tabs, ...made.map(({ tab }) => tab));
  fill(main, ...made.map(({ panel }) => panel));
  choose(location.hash.slice(1));
}

async function start(): Promise<void> {
  const main = document.getElementById('panels');
  const tabs = document.getElementById('tabs');
  if (main === null || tabs === null) return;
  try {
    show(createState(await createCore()), tabs, main);
    document.documentElement.dataset.ready = 'yes';
  } catch (error) {
    fill(main, verdict(false, 'The core did not start', error instanceof Error ? error.message : String(error)));
  }
}

void start();

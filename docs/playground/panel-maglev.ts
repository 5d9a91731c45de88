// Fourth panel: Maglev live. Targets with weights, the share of slots that each owns, and what a change moves.
import { maglev, primeAtMost } from '@openclb/core-wasm';
import { attempt, card, fill, h, labelled, select } from './dom.ts';

interface Target {
  readonly id: string;
  readonly weight: number;
}

const COLOURS = [
  '#2f6fed',
  '#e08e2b',
  '#2a9d4b',
  '#d1495b',
  '#7a4fe0',
  '#11907f',
  '#b5549c',
  '#7f8c5a',
  '#c2703d',
  '#4a8fb5',
];
const colourOf = (id: string): string => COLOURS[(Number(/\d+$/.exec(id)?.[0] ?? 0) - 1) % COLOURS.length] ?? '#6c7a93';
const percent = (share: number): string => `${(share * 100).toFixed(2)}\u00a0%`;

/** Slot → id of its owner; an empty text where nobody has a weight. */
function ownersOf(targets: readonly Target[], slots: number): string[] {
  const sorted = targets.map(({ id }) => id).sort();
  return Array.from(maglev(targets, slots), (index) => sorted[index] ?? '');
}

interface Moment {
  readonly targets: readonly Target[];
  readonly owners: readonly string[];
}

export function maglevPanel(): HTMLElement {
  return new MaglevPanel().element;
}

class MaglevPanel {
  readonly element: HTMLElement;
  private targets: readonly Target[] = Array.from({ length: 5 }, (_, at) => ({ id: `target-${at + 1}`, weight: 1 }));
  private made = 5;
  private readonly rows = h('tbody', {});
  private readonly figures = h('div', { class: 'figures', 'aria-live': 'polite' });
  private readonly canvas = h('canvas', { role: 'img', 'aria-label': 'Slots, coloured by the target that owns them' });
  private readonly slots = select(
    [251, 1021, 4093, 65_537].map((count) => [String(count), count.toLocaleString('en')] as const),
    () => this.change(this.targets, true),
  );

  constructor() {
    this.slots.value = '4093';
    this.change(this.targets, true);
    const add = (): void => this.change([...this.targets, { id: `target-${++this.made}`, weight: 1 }]);
    const controls = h(
      'div',
      { class: 'row' },
      labelled('Slots, a prime', this.slots),
      h('button', { type: 'button', class: 'primary', onclick: add }, 'Add a target'),
      h('button', { type: 'button', onclick: () => this.change(this.targets.toReversed()) }, 'Reverse the order'),
    );
    const head = ['target', 'weight', 'has', 'ideal', '', ''].map((text) => h('th', { scope: 'col' }, text));
    const table = h('table', {}, h('thead', {}, h('tr', {}, ...head)), this.rows);
    const hint =
      'Every square is a slot in the colour of its owner. What the last change moved is bright, the rest faded.';
    this.element = h(
      'div',
      { class: 'columns' },
      card('Targets', controls, h('div', { class: 'scroll' }, table)),
      card('The table', this.figures, this.canvas, h('p', { class: 'hint' }, hint)),
    );
  }

  /** Other targets, or another table size; the figures compare with what was there. */
  private change(targets: readonly Target[], isAfresh = false): void {
    const size = primeAtMost(Number(this.slots.value));
    const before = isAfresh ? null : { targets: this.targets, owners: ownersOf(this.targets, size) };
    this.targets = targets;
    attempt(this.rows, () => {
      const start = performance.now();
      const owners = ownersOf(targets, size);
      showFigures(this.figures, { targets, owners }, before, performance.now() - start);
      paint(this.canvas, owners, before?.owners ?? null);
      return targets.map((target) => this.row(target, owners));
    });
  }

  private row(target: Target, owners: readonly string[]): HTMLElement {
    const total = this.targets.reduce((sum, { weight }) => sum + weight, 0);
    const share = owners.filter((id) => id === target.id).length / owners.length;
    const heaviest = Math.max(1, ...this.targets.map(({ weight }) => weight));
    const bar = h('span', { class: 'bar' });
    bar.style.width = `${Math.min(100, ((share * total) / heaviest) * 100)}%`;
    const setWeight = (event: Event): void => {
      const weight = Math.min(1000, Math.max(0, Math.round(Number((event.target as HTMLInputElement).value)) || 0));
      this.change(this.targets.map((other) => (other.id === target.id ? { ...other, weight } : other)));
    };
    const limits = { type: 'number', min: 0, max: 1000, value: target.weight };
    const weight = h('input', { ...limits, onchange: setWeight, 'aria-label': `Weight of ${target.id}` });
    const remove = (): void => this.change(this.targets.filter(({ id }) => id !== target.id));
    const line = h(
      'tr',
      {},
      h('td', { class: 'tight' }, h('span', { class: 'swatch', 'aria-hidden': 'true' }), target.id),
      h('td', {}, weight),
      h('td', { class: 'number tight' }, percent(share)),
      h('td', { class: 'number tight' }, total === 0 ? '–' : percent(target.weight / total)),
      h('td', { class: 'wide' }, bar),
      h(
        'td',
        {},
        h('button', { type: 'button', onclick: remove, 'aria-label': `Remove ${target.id}`, title: 'Remove' }, '×'),
      ),
    );
    line.style.setProperty('--layer', colourOf(target.id));
    return line;
  }
}

function showFigures(output: HTMLElement, { targets, owners }: Moment, before: Moment | null, took: number): void {
  const figure = (value: string, text: string): HTMLElement => h('div', {}, h('b', {}, value), h('span', {}, text));
  const moved = before === null ? 0 : owners.filter((id, slot) => id !== before.owners[slot]).length / owners.length;
  fill(
    output,
    figure(before === null ? '–' : percent(moved), 'of the slots moved'),
    figure(before === null ? '–' : percent(leastMove(before.targets, targets)), 'had to move'),
    figure(owners.length.toLocaleString('en'), 'slots'),
    figure(`${took.toFixed(1)} ms`, 'to build'),
  );
}

/** Half of what the ideal shares differ by: no table can move less. */
function leastMove(before: readonly Target[], after: readonly Target[]): number {
  const shares = (targets: readonly Target[]): Map<string, number> => {
    const total = targets.reduce((sum, { weight }) => sum + weight, 0);
    return new Map(targets.map(({ id, weight }) => [id, total === 0 ? 0 : weight / total]));
  };
  const [old, now] = [shares(before), shares(after)];
  const ids = new Set([...old.keys(), ...now.keys()]);
  return [...ids].reduce((sum, id) => sum + Math.abs((old.get(id) ?? 0) - (now.get(id) ?? 0)), 0) / 2;
}

function paint(canvas: HTMLCanvasElement, owners: readonly string[], before: readonly string[] | null): void {
  const columns = Math.ceil(Math.sqrt(owners.length * 2));
  const size = Math.max(2, Math.floor(1024 / columns));
  canvas.width = columns * size;
  canvas.height = Math.ceil(owners.length / columns) * size;
  const context = canvas.getContext('2d');
  if (context === null) return;
  for (const [slot, id] of owners.entries()) {
    context.globalAlpha = before === null || before[slot] !== id ? 1 : 0.28;
    context.fillStyle = id === '' ? '#6c7a93' : colourOf(id);
    const gap = size > 3 ? 1 : 0;
    context.fillRect((slot % columns) * size, Math.floor(slot / columns) * size, size - gap, size - gap);
  }
}

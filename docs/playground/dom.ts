// Elements in one call, and the few widgets that every panel uses. Text is always text: nothing here parses HTML.

type Child = Node | string | number | null | undefined | false;
type Props = Readonly<Record<string, string | number | boolean | undefined | ((event: Event) => void)>>;

/** An element with attributes (`on…` are listeners, `false` and undefined are left out) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== undefined) element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

function append(element: HTMLElement, children: readonly Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    element.append(typeof child === 'number' ? String(child) : child);
  }
}

/** Gives an element other children. */
export function fill(element: HTMLElement, ...children: readonly Child[]): void {
  element.replaceChildren();
  append(element, children);
}

export function labelled(text: string, control: HTMLElement): HTMLLabelElement {
  return h('label', {}, text, control);
}

export function input(value: string, onChange: () => void, props: Props = {}): HTMLInputElement {
  return h('input', { value, oninput: onChange, spellcheck: 'false', autocomplete: 'off', ...props });
}

export function select(options: readonly (readonly [value: string, text: string])[], onChange: () => void) {
  return h('select', { onchange: onChange }, ...options.map(([value, text]) => h('option', { value }, text)));
}

export function card(title: string, ...children: readonly Child[]): HTMLElement {
  return h('section', { class: 'card' }, h('h2', {}, title), ...children);
}

export function verdict(isGood: boolean, title: string, text: string): HTMLElement {
  return h('p', { class: `verdict ${isGood ? 'good' : 'bad'}` }, h('strong', {}, title), h('span', {}, text));
}

/** Runs something that users may have fed with nonsense; its complaint takes the place of the result. */
export function attempt(output: HTMLElement, action: () => readonly Child[]): void {
  try {
    fill(output, ...action());
  } catch (error) {
    fill(output, verdict(false, 'That does not work', error instanceof Error ? error.message : String(error)));
  }
}

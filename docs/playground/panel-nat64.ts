// Second panel: the packet in hand in the other IP family (RFC 7915), with the prefix that IPv4 has in IPv6 (RFC 6052).
import { type Nat64, createNat64 } from '@openclb/core-wasm/nat64';
import { attempt, card, fill, h, input, labelled, select, verdict } from './dom.ts';
import { frameView } from './layers.ts';
import { parseHex } from './hex.ts';
import { SAMPLES } from './samples.ts';
import type { State } from './state.ts';

const RAW_IP = 101;
const TAKE = 'Take an IPv6 SYN to 203.0.113.10';
const LENGTHS = [32, 40, 48, 56, 64, 96] as const;

export function nat64Panel(state: State): HTMLElement {
  const output = h('div', { class: 'halves', 'aria-live': 'polite' });
  const addresses = h('div', { class: 'figures', 'aria-live': 'polite' });
  const prefix = input('64:ff9b::/96', () => void restart());
  const localPrefix = input('2001:db8:6464::/96', () => void restart());
  const kind = select(
    [
      ['stateless', 'stateless (RFC 7915): addresses are computed'],
      ['stateful', 'stateful (RFC 6146): clients share an address'],
    ],
    () => void restart(),
  );
  const pool = input('192.0.2.33', () => void restart());
  const address = input('203.0.113.10', () => showAddresses());
  let translator: Nat64 | null = null;

  const showAddresses = (): void => attempt(addresses, () => embedded(translator, address.value.trim()));
  const render = (): void =>
    attempt(output, () => {
      if (translator === null) return [];
      const packet = state.ipPacket();
      const result = translator.translate(packet, Math.round(performance.now()));
      const isDone = result.verdict === 'translated';
      const refusal = hint(result.reason ?? '', kind.value === 'stateful');
      const headline = verdict(isDone, result.verdict, isDone ? `${result.packets.length} packet(s)` : refusal);
      const views = result.packets.flatMap((made) => frameView(state.core, made, RAW_IP, 2));
      return [
        card('The packet', ...frameView(state.core, packet, RAW_IP, 2)),
        card('In the other family', headline, ...views),
      ];
    });
  const restart = async (): Promise<void> => {
    const isStateful = kind.value === 'stateful';
    // Addresses for documentation are not global: without the last option RFC 6052 forbids them behind 64:ff9b::/96.
    const errors = { own6: '2001:db8:6464::1', own4: '192.0.2.1' };
    const own = { prefix: prefix.value.trim(), ...errors, allowNonGlobal: true };
    const more = isStateful
      ? { stateful: { pool: [pool.value.trim()], bindings: 256 } }
      : { localPrefix: localPrefix.value.trim() };
    try {
      translator = await createNat64({ ...own, ...more });
      render();
      showAddresses();
    } catch (error) {
      fill(output, verdict(false, 'The settings are refused', error instanceof Error ? error.message : String(error)));
    }
  };
  state.onFrame(render);
  void restart();
  const controls = row([
    ['Translator', kind],
    ['Prefix of the IPv4 hosts', prefix],
    ['Prefix of the IPv6 hosts, stateless', localPrefix],
    ['Address of the clients, stateful', pool],
  ]);
  // A client of this kind has an address of its own, which only the stateful translator takes.
  const take = async (): Promise<void> => {
    kind.value = 'stateful';
    await restart();
    takeSample(state);
  };
  const button = h('button', { type: 'button', class: 'primary', onclick: () => void take() }, TAKE);
  const one = row([['IPv4 address', address]]);
  return h(
    'div',
    { class: 'stack' },
    card('Translate the frame of the first panel', controls, button),
    output,
    card('One IPv4 address in the six prefix lengths of RFC 6052', one, addresses),
  );
}

/** What to do about a refusal that everybody meets first. */
function hint(reason: string, isStateful: boolean): string {
  if (!isStateful) return reason;
  return `${reason}: from the IPv4 side only answers pass, to the address of the clients; begin with an IPv6 SYN`;
}

function takeSample(state: State): void {
  const sample = SAMPLES.find(({ name }) => name === 'IPv6 SYN for NAT64');
  if (sample !== undefined) state.setFrame({ bytes: parseHex(sample.hex), linkType: sample.linkType });
}

/** One IPv4 address in each prefix length. */
function embedded(translator: Nat64 | null, address: string): HTMLElement[] {
  if (translator === null) return [];
  return LENGTHS.map((bits) =>
    h('div', {}, h('code', {}, translator.embed(address, `2001:db8::/${bits}`)), h('span', {}, `/${bits}`)),
  );
}

function row(controls: readonly (readonly [label: string, control: HTMLElement])[]): HTMLElement {
  return h('div', { class: 'row' }, ...controls.map(([text, control]) => labelled(text, control)));
}

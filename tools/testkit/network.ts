// Network namespaces joined by veth pairs, made from a plan in a few calls; each run has a prefix of its own, so runs never collide.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { insideNamespace, offloadsOff } from './kernel.ts';
import { completePath, isInsideUserNamespace } from './namespaces.ts';
import { startProcess } from './process.ts';
import type { Running, StartOptions } from './process.ts';
import { noteOf, removeRun, writeState } from './state.ts';
import type { RunState } from './state.ts';

export interface NamespacePlan {
  name: string;
  /** `net.` is left out: 'ipv4.ip_forward'. Written before the links come up. */
  sysctls?: Record<string, string>;
  /** Lines of `ip -batch`, run inside once all links exist. */
  commands: string[];
}

export interface LinkEnd {
  namespace: string;
  device: string;
  mac?: string;
}

export interface LinkPlan {
  a: LinkEnd;
  b: LinkEnd;
  mtu: number;
}

export interface NetworkPlan {
  namespaces: NamespacePlan[];
  links: LinkPlan[];
}

export interface Network {
  prefix: string;
  directory: string;
  state: RunState;
  plan: NetworkPlan;
}

/** Duplicate address detection would hold IPv6 back for a second; reverse path filters drop direct return. */
const EVERYWHERE: Record<string, string> = {
  'ipv4.conf.all.rp_filter': '0',
  'ipv4.conf.default.rp_filter': '0',
  'ipv6.conf.all.accept_dad': '0',
  'ipv6.conf.default.accept_dad': '0',
  'ipv6.conf.default.dad_transmits': '0',
  'ipv6.conf.default.router_solicitations': '0',
  'ipv6.conf.default.accept_ra': '0',
};

export const namespaceName = (network: Network, name: string): string => `${network.prefix}-${name}`;
const namespacePath = (network: Network, name: string): string => `/run/netns/${namespaceName(network, name)}`;

export function createNetwork(plan: NetworkPlan, label = 'clb'): Network {
  completePath();
  const prefix = `${label}${randomBytes(2).toString('hex')}`;
  const directory = mkdtempSync(join(tmpdir(), `openclb-${prefix}-`));
  const namespaces = plan.namespaces.map(({ name }) => `${prefix}-${name}`);
  const state: RunState = {
    prefix,
    directory,
    owner: noteOf(process.pid, 'owner'),
    namespaces,
    processes: [],
    inUserNamespace: isInsideUserNamespace(),
  };
  writeState(state);
  const network = { prefix, directory, state, plan };
  try {
    build(network);
  } catch (error) {
    removeNetwork(network);
    throw error;
  }
  return network;
}

function build(network: Network): void {
  const { plan } = network;
  ipBatch(
    [],
    network.state.namespaces.map((name) => `netns add ${name}`),
  );
  for (const { name, sysctls } of plan.namespaces)
    within(network, name, () => writeSysctls({ ...EVERYWHERE, ...sysctls }));
  ipBatch(
    [],
    plan.links.map((link) => linkCommand(network, link)),
  );
  for (const { name } of plan.namespaces) {
    const devices = devicesOf(plan, name);
    within(network, name, () => devices.forEach((device) => offloadsOff(device)));
    ipBatch(
      ['-n', namespaceName(network, name)],
      ['lo', ...devices].map((device) => `link set ${device} up`),
    );
  }
  for (const { name, commands } of plan.namespaces) ipBatch(['-n', namespaceName(network, name)], commands);
}

const devicesOf = (plan: NetworkPlan, name: string): string[] =>
  plan.links
    .flatMap(({ a, b }) => [a, b])
    .filter((end) => end.namespace === name)
    .map(({ device }) => device);

function linkCommand(network: Network, { a, b, mtu }: LinkPlan): string {
  const end = ({ namespace, device, mac }: LinkEnd): string =>
    `name ${device} ${mac ? `address ${mac} ` : ''}mtu ${mtu} netns ${namespaceName(network, namespace)}`;
  return `link add ${end(a)} type veth peer ${end(b)}`;
}

/** Many `ip` commands in one process. */
export function ipBatch(options: readonly string[], lines: readonly string[]): void {
  if (lines.length === 0) return;
  try {
    execFileSync('ip', [...options, '-batch', '-'], {
      input: `${lines.join('\n')}\n`,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  } catch (error) {
    const text = (error as { stderr?: Buffer }).stderr?.toString().trim() ?? String(error);
    throw new Error(
      `ip ${options.join(' ')}: ${text}\n${lines.map((line, index) => `${index + 1}: ${line}`).join('\n')}`,
      { cause: error },
    );
  }
}

export function ipIn(network: Network, name: string, lines: readonly string[]): void {
  ipBatch(['-n', namespaceName(network, name)], lines);
}

/** The output of one `ip` query inside a namespace. */
export function askIp(network: Network, name: string, ...words: string[]): string {
  return execFileSync('ip', ['-n', namespaceName(network, name), ...words], { encoding: 'utf8' });
}

function writeSysctls(values: Record<string, string>): void {
  for (const [key, value] of Object.entries(values)) writeFileSync(`/proc/sys/net/${key.replaceAll('.', '/')}`, value);
}

/** Synchronous work with this thread inside the namespace. */
export function within<T>(network: Network, name: string, work: () => T): T {
  return insideNamespace(namespacePath(network, name), work);
}

export const readInside = (network: Network, name: string, file: string): string =>
  within(network, name, () => readFileSync(file, 'utf8'));

/** Starts a process in a namespace; its output goes to a log file, so it outlives us when asked to (`--keep`). */
export function startIn(
  network: Network,
  name: string,
  label: string,
  argv: readonly string[],
  options: StartOptions = {},
): Running {
  const command = ['ip', 'netns', 'exec', namespaceName(network, name), ...argv];
  const running = startProcess(network.directory, label, command, options);
  network.state.processes.push(running.note);
  writeState(network.state);
  return running;
}

/** Ends everything that the run has made. Safe to call twice. */
export function removeNetwork(network: Network): void {
  removeRun(network.state);
}

// `npm run demo`: brings a cluster up in network namespaces, tells its story with real traffic, checks every claim, tears down.
// Exit status 0 only if every claim held; 2 for a wrong flag.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  hasTshark,
  mergeCaptures,
  isAlive,
  isInsideUserNamespace,
  namespaceName,
  needsUserNamespace,
  readStates,
  removeRun,
  tsharkBadChecksums,
  whyNoNamespaces,
  wrapForNamespaces,
} from '../../../tools/testkit/index.ts';
import { API_KEY, CONTROLLER_URL } from './api.ts';
import { portsInUse, startCluster } from './cluster.ts';
import type { Cluster, ClusterOptions } from './cluster.ts';
import { tellOnLoopback } from './loopback.ts';
import { STORY } from './story.ts';
import { createTeller } from './tell.ts';
import type { Teller } from './tell.ts';
import { VIP } from './topology.ts';
import { captureFiles } from './watch.ts';

const USAGE = 'npm run demo -- [--port auto|xdp|packet] [--lines 1-13] [--loopback] [--keep] [--down] [--json]';
const PORTS = ['auto', 'xdp', 'packet'];

interface Choice {
  port: ClusterOptions['port'];
  /** The first and the last line of the story to tell; later lines build on what earlier ones have made. */
  lines: string;
  loopback: boolean;
  keep: boolean;
  down: boolean;
  json: boolean;
}

function readChoice(): Choice {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: 'auto' },
      lines: { type: 'string', default: `1-${STORY.length}` },
      loopback: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      down: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  if (!PORTS.includes(values.port)) throw new Error(`--port is ${PORTS.join(', ')}, not '${values.port}'`);
  if (!/^\d+(-\d+)?$/.test(values.lines))
    throw new Error(`--lines is a number or a range as in 1-4, not '${values.lines}'`);
  const [first = 1, last = first] = values.lines.split('-').map(Number);
  if (first < 1 || last < first || last > STORY.length)
    throw new Error(`--lines is within 1-${STORY.length} and forwards, not '${values.lines}'`);
  return values as Choice;
}

/** Removes what earlier runs have left. A run that is still told somewhere else stays. */
function takeDown(): void {
  const states = readStates();
  for (const state of states) {
    if (isAlive(state.owner)) {
      console.log(`${state.prefix} is still running (process ${state.owner.pid}); end it with Ctrl-C there`);
      continue;
    }
    const { processes, namespaces } = removeRun(state);
    console.log(`removed ${state.prefix}: ${processes} processes, ${namespaces} namespaces`);
  }
  if (states.length === 0) console.log('nothing is left over');
}

/** Whatever this process has made, also when it is interrupted half-way. */
function takeDownOwn(): void {
  for (const state of readStates()) if (state.owner.pid === process.pid) removeRun(state);
}

function cleanUpWhenEnded(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      takeDownOwn();
      process.exit(128 + constants.signals[signal]);
    });
  }
}

async function tellStory(choice: Choice, tell: Teller): Promise<void> {
  const started = performance.now();
  const cluster = await startCluster({ port: choice.port });
  const ports = await portsInUse(cluster);
  const count = cluster.plan.namespaces.length;
  tell.note(
    `${count} namespaces and ${cluster.roles.size} roles stand after ${((performance.now() - started) / 1000).toFixed(1)} s`,
  );
  tell.note(
    `packets are carried by: ${Object.entries(ports)
      .map(([node, port]) => `${node} ${port}`)
      .join(', ')}`,
  );
  const [first = 1, last = first] = choice.lines.split('-').map(Number);
  for (const { title, run } of STORY.slice(first - 1, last)) {
    tell.step(title);
    try {
      await run(cluster, tell);
    } catch (error) {
      tell.claim('the line could be told to its end', false, error instanceof Error ? error.message : String(error));
    }
  }
  const files = captureFiles(cluster.network);
  // Some lines look at answers only and capture nothing.
  if (hasTshark() && files.length > 0) {
    tell.step('A second opinion');
    const bad = tsharkBadChecksums(mergeCaptures(files, join(cluster.network.directory, 'all.pcap')));
    tell.claim(
      'tshark reads every capture and finds no wrong checksum',
      bad.length === 0,
      `${files.length} captures, ${bad.length} wrong ${bad.slice(0, 3).join('; ')}`,
    );
  }
  if (choice.keep) explainAccess(cluster, tell);
  else cluster.down();
}

function explainAccess(cluster: Cluster, tell: Teller): void {
  const client = namespaceName(cluster.network, 'client');
  const first = cluster.network.state.processes.find(isAlive)?.pid;
  const enter = isInsideUserNamespace() ? `nsenter --preserve-credentials -U -m -t ${first} ` : '';
  tell.step('The cluster stays (--keep)');
  tell.note(`reach it:   ${enter}ip netns exec ${client} curl http://${VIP.a}/`);
  tell.note(
    `ask it:     ${enter}ip netns exec ${client} env CLB_CONTROLLER=${CONTROLLER_URL} CLB_API_KEY=${API_KEY} ${cluster.clbLine} status`,
  );
  tell.note(`logs and captures: ${cluster.network.directory}`);
  tell.note('remove it:  npm run demo -- --down');
}

/** Runs this file once more where namespaces can be made, and answers with its exit status. */
function reExecute(): Promise<number> {
  const { argv, env } = wrapForNamespaces([
    process.execPath,
    ...process.execArgv,
    fileURLToPath(import.meta.url),
    ...process.argv.slice(2),
  ]);
  const [command = '', ...words] = argv;
  const child = spawn(command, words, { env, stdio: 'inherit' });
  // The terminal sends Ctrl-C to both; the inner one cleans up and its status counts.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((resolve) =>
    child.on('close', (status, signal) => resolve(status ?? 128 + constants.signals[signal ?? 'SIGKILL'])),
  );
}

async function main(): Promise<number> {
  let choice: Choice;
  try {
    choice = readChoice();
  } catch (error) {
    console.error(`${(error as Error).message.split('\n')[0]}; usage: ${USAGE}`);
    return 2;
  }
  if (choice.down) {
    takeDown();
    return 0;
  }
  const started = performance.now();
  const tell = createTeller((line) => console.log(line), choice.json);
  const why = choice.loopback ? 'told so by --loopback' : whyNoNamespaces();
  if (why === undefined && needsUserNamespace()) return reExecute();
  cleanUpWhenEnded();
  try {
    if (why === undefined) await tellStory(choice, tell);
    else await tellOnLoopback(tell, why);
  } catch (error) {
    tell.claim('the cluster comes up', false, error instanceof Error ? error.message : String(error));
    takeDownOwn();
  }
  return conclude(tell, choice, started);
}

function conclude(tell: Teller, choice: Choice, started: number): number {
  const broken = tell.claims.filter(({ held }) => !held);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const summary = { claims: tell.claims.length, held: tell.claims.length - broken.length, seconds: Number(seconds) };
  if (choice.json) console.log(JSON.stringify({ event: 'end', ...summary }));
  else {
    console.log(`\n${summary.held} of ${summary.claims} claims held, in ${seconds} s`);
    for (const { step, text } of broken) console.log(`  did not hold: ${step}: ${text}`);
  }
  return broken.length === 0 && tell.claims.length > 0 ? 0 : 1;
}

process.exit(await main());

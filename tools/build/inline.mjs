// Inlines the walk of a known packet into one function, and nothing else: asc compiles the whole core small (-O1), then this takes
// copies of the functions named below, makes them one body with the loops over a burst, and optimises that body for speed.
// A walk is some thirty small steps, and as calls they cost a fifth of its time. Inlined everywhere (as -O3 and a general pass do) they
// also fill fragments, ICMP, endpoints and answers with code that nobody waits for, and the core grows by a third.
// Copies, because an inlining pass asks what is inlined, not where: the other callers of the same steps go on calling the small ones.
// A new step of the fast walk must be named here. A name that its file does not have stops the build.
import { readFileSync, writeFileSync } from 'node:fs';
import binaryen from 'binaryen';

/** The loops. What is below is inlined into them, and into each other's copies. */
const ROOTS = ['path/burst/walkGroup', 'port/port/receive', 'port/port/transmit', 'port/port/recycle'];

/** By file: the steps of a packet of a known flow, from the ring to the ring, and no step that only rare packets take. */
const HOT = {
  'path/burst': ['read', 'direct', 'finish', 'recordAt', 'clear', 'isInside'],
  'path/parse-common': ['parseCommon'],
  'path/frame': ['frameAt', 'l3At', 'l4At', 'ipBytes'],
  'path/dispatch': ['dispatch', 'isOwn', 'isProbe', 'isIcmp', 'go'],
  'path/classify': ['classify'],
  'path/track': ['expectInbound'],
  'path/known': ['known', 'isOddSource', 'isSteady', 'lowerTtl', 'rewrite'],
  'path/way': ['wayTo', 'isOpen', 'writeHeaders'],
  'path/route': ['learnedMtu'],
  'table/address': ['findAddress', 'hashAddress'],
  'table/hash': ['hashFlow', 'hashWords'],
  'table/flow': ['hashForward', 'replyPort'],
  'table/flow-index': [
    'touchIndex',
    'touchEntry',
    'findForward',
    'flowAt',
    'indexAt',
    'homeOf',
    'nextOf',
    'tagOf',
    'isTagged',
    'isForward',
    'entryOf',
  ],
  'table/counter': ['countKnown', 'listenerCounter', 'targetCounter'],
  'table/rows': ['listenerAt', 'targetAt', 'hostAt'],
  'table/next-hop': ['sequence', 'touchNeighbour', 'neighbourAt'],
  'wire/ipv4': ['storeMapped'],
  'wire/checksum': ['halves', 'fold', 'foldShort', 'update', 'updateBy', 'complement', 'sumOf'],
  'port/state': [
    'recordAt',
    'stateOf',
    'clampBurst',
    'portExists',
    'slab',
    'isInSlab',
    'isInArena',
    'begin',
    'countSent',
    'popFree',
    'pushFree',
  ],
  'port/port': ['enqueue', 'isOversize'],
  'port/packet': ['receivePacket', 'take', 'transmitPacket', 'releasePacket'],
  'port/xdp': ['receiveXdp', 'transmitXdp', 'queue'],
  verdict: ['settle', 'settleKnown', 'drop', 'end'],
  '~lib/polyfills': ['bswap<u16>', 'bswap<u32>'],
};

const PREFIX = 'assembly/';
/** In front of the names of the copies. */
const COPY = 'hot:';
const CALL = /\(call \$(\S+?)(?=[\s)])/g;
/** More than any function has: what may be inlined is inlined. */
const ANY_SIZE = 1_000_000;

const nameOf = (file, name) => (file.startsWith('~') ? `${file}/${name}` : `${PREFIX}${file}/${name}`);
const hotNames = new Set(Object.entries(HOT).flatMap(([file, names]) => names.map((name) => nameOf(file, name))));

/** asc inlines some of them itself, so only the sources can say whether a name is still right. */
function checkNames() {
  const files = { ...HOT };
  for (const root of ROOTS) {
    const at = root.lastIndexOf('/');
    files[root.slice(0, at)] = [...(files[root.slice(0, at)] ?? []), root.slice(at + 1)];
  }
  for (const [file, names] of Object.entries(files)) {
    if (file.startsWith('~')) continue;
    const source = readFileSync(`${PREFIX}${file}.ts`, 'utf8');
    const lost = names.filter((name) => !source.includes(`function ${name}(`));
    if (lost.length > 0)
      throw new Error(`${PREFIX}${file}.ts has no ${lost.join(', ')}: mend the list in tools/build/inline.mjs`);
  }
}

function readModule(read) {
  const module = read();
  const { Features } = binaryen;
  module.setFeatures(
    [
      Features.MutableGlobals,
      Features.SignExt,
      Features.NontrappingFPToInt,
      Features.BulkMemory,
      Features.BulkMemoryOpt,
      Features.SIMD128,
      Features.Atomics,
    ].reduce((all, feature) => all | (feature ?? 0), Features.MVP),
  );
  return module;
}

/** The text of a module: its functions by name, and every other line. */
function split(text) {
  const lines = text.trimEnd().split('\n');
  const functions = new Map();
  const others = [];
  for (let at = 0; at < lines.length; at++) {
    const name = /^ \(func \$(\S+)/.exec(lines[at])?.[1];
    if (name === undefined) {
      others.push(lines[at]);
      continue;
    }
    const from = at;
    while (lines[at] !== ' )') at++;
    functions.set(name, lines.slice(from, at + 1).join('\n'));
  }
  return { functions, others };
}

/** Adds the copies, which call each other, and turns the roots to them. */
function withCopies(text) {
  const { functions, others } = split(text);
  const turned = (body) => body.replace(CALL, (call, name) => (hotNames.has(name) ? `(call $${COPY}${name}` : call));
  const waiting = ROOTS.map((root) => `${PREFIX}${root}`);
  const roots = new Set(waiting);
  const seen = new Set();
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    const body = functions.get(name);
    if (body === undefined)
      throw new Error(`${name} is no function any more: mend the roots in tools/build/inline.mjs`);
    for (const [, callee] of body.matchAll(CALL)) if (hotNames.has(callee)) waiting.push(callee);
    if (roots.has(name)) functions.set(name, turned(body));
    else functions.set(`${COPY}${name}`, turned(body).replace(`(func $${name}`, `(func $${COPY}${name}`));
  }
  return [...others.slice(0, -1), ...functions.values(), ')'].join('\n');
}

/** Rewrites an artefact that asc has made with `-O1 --debug`: the names are needed here and are stripped at the end. */
export function inlineHot(file) {
  checkNames();
  const small = readModule(() => binaryen.readBinary(readFileSync(file)));
  const text = withCopies(small.emitText());
  small.dispose();
  const module = readModule(() => binaryen.parseText(text));
  for (let index = 0; index < module.getNumFunctions(); index++) {
    const { name } = binaryen.getFunctionInfo(module.getFunctionByIndex(index));
    if (name.startsWith(COPY)) continue;
    binaryen.setPassArgument('no-inline', name);
    module.runPasses(['no-inline']);
  }
  binaryen.setOptimizeLevel(4);
  binaryen.setShrinkLevel(0);
  binaryen.setAlwaysInlineMaxSize(ANY_SIZE);
  binaryen.setFlexibleInlineMaxSize(ANY_SIZE);
  binaryen.setOneCallerInlineMaxSize(ANY_SIZE);
  module.runPasses(['inlining-optimizing', 'remove-unused-module-elements', 'strip-debug']);
  binaryen.setDebugInfo(false);
  writeFileSync(file, module.emitBinary());
  module.dispose();
}

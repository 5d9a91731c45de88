// Health of a director's targets: joins the state (health-state.ts), the probes (probe.ts), the overlay of the tables and the disk.
// Verdicts act between images: no table is rebuilt when a target dies (data-plane.md P12). A restart begins with the last verdicts (P40).
import { promises } from 'node:fs';
import { join } from 'node:path';
import { type DirectorImage, type HealthReport } from '@openclb/model';
import { type Check, type HealthVerdict, checkKey, createHealthState } from './health-state.ts';
import { type Log, messageOf } from './log.ts';
import { type TargetProbe, createProber } from './probe.ts';

const TICK_MS = 50;
const PROBES_PER_TICK_MAX = 64;
const SAVE_AFTER_MS = 500;

export interface HealthOptions {
  readonly node: string;
  readonly stateDir: string | undefined;
  readonly log: Log;
  /** Sends probes to their targets through the data path. */
  emit(probes: readonly TargetProbe[]): void;
  /** Writes a verdict where the packet workers read it. */
  overlay(target: string, verdict: HealthVerdict): void;
  /** Verdicts have changed. */
  onChange(): void;
}

export interface Health {
  /** Takes the checks of an applied image; call it after the tables know the image's targets. */
  configure(image: DirectorImage): void;
  /** Packets that came to the probe address. */
  take(packets: readonly Uint8Array[]): void;
  /** By resource name, as the controller knows them. */
  reports(): HealthReport[];
  close(): Promise<void>;
}

export async function startHealth(options: HealthOptions): Promise<Health> {
  const { log } = options;
  const state = createHealthState();
  const prober = createProber({ emit: options.emit, conclude: state.conclude });
  const file =
    options.stateDir === undefined ? null : join(options.stateDir, `${encodeURIComponent(options.node)}.health.json`);
  const known = await readVerdicts(file);
  let names = new Map<string, string>();
  let targets = new Map<string, string>();
  let suspected = false;
  let toldOfHttp = false;
  let saving: NodeJS.Timeout | null = null;

  function publish(): void {
    for (const target of targets.keys()) options.overlay(target, state.verdict(target));
    options.onChange();
    saving ??= setTimeout(() => void save(), SAVE_AFTER_MS);
  }

  async function save(): Promise<void> {
    saving = null;
    for (const row of state.reports()) known.set(checkKey(row), row.state);
    await writeVerdicts(file, state.reports()).catch((error: unknown) => {
      log.warn({ reason: messageOf(error) }, 'health verdicts are not on disk; a restart begins without them');
    });
  }

  function tick(): void {
    const now = performance.now();
    prober.send(state.due(now, PROBES_PER_TICK_MAX), now);
    prober.tick(now);
    if (state.settle(now)) publish();
    if (state.suspectsItself !== suspected) {
      suspected = state.suspectsItself;
      if (suspected)
        log.warn({}, 'every target seems dead at once: suspecting ourselves, the last verdicts stay for 10 s');
    }
  }

  const timer = setInterval(tick, TICK_MS);
  return {
    configure(image) {
      prober.configure(image);
      if (!toldOfHttp && image.groups.some((group) => /^(?:http|grpc|mysql)/.test(group.check.type))) {
        toldOfHttp = true;
        log.warn(
          {},
          'HTTP checks of layer-4 listeners are made by TCP: a target that accepts connections counts as alive',
        );
      }
      targets = new Map(image.targets.map((target) => [target.id, target.name]));
      names = new Map([...targets, ...image.groups.map((group): [string, string] => [group.id, group.name])]);
      state.configure(checksOf(image), performance.now(), known);
      state.settle(performance.now());
      publish();
    },
    take: (packets) => prober.take(packets, performance.now()),
    reports: () =>
      state.reports().map((row) => ({
        target: names.get(row.target) ?? row.target,
        group: names.get(row.group) ?? row.group,
        state: row.state,
      })),
    async close() {
      clearInterval(timer);
      if (saving === null) return;
      clearTimeout(saving);
      await save();
    },
  };
}

/** Every member of every group, weight 0 included (Tencent probes those as well). */
function checksOf(image: DirectorImage): Check[] {
  return image.groups.flatMap((group) =>
    group.targets.map(({ target }) => ({ target, group: group.id, spec: group.check })),
  );
}

const VERDICTS: readonly string[] = ['alive', 'dead'];

/** What is not a verdict in the file is not believed. */
async function readVerdicts(file: string | null): Promise<Map<string, HealthVerdict>> {
  const verdicts = new Map<string, HealthVerdict>();
  if (file === null) return verdicts;
  try {
    const saved = JSON.parse(await promises.readFile(file, 'utf8')) as Record<string, unknown>;
    for (const [key, value] of Object.entries(saved)) {
      if (typeof value === 'string' && VERDICTS.includes(value)) verdicts.set(key, value as HealthVerdict);
    }
  } catch {
    // Absent or damaged: targets begin as probing, which lasts one interval.
  }
  return verdicts;
}

async function writeVerdicts(
  file: string | null,
  reports: readonly { target: string; group: string; state: string }[],
): Promise<void> {
  if (file === null) return;
  const rows = reports.filter((row) => VERDICTS.includes(row.state)).map((row) => [checkKey(row), row.state]);
  await promises.writeFile(`${file}.new`, JSON.stringify(Object.fromEntries(rows)));
  await promises.rename(`${file}.new`, file);
}

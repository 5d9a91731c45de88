// Every command, in the order of help and of docs/reference/cli.md.
import type { Command } from './command.ts';
import { announce } from './command/announce.ts';
import { apply } from './command/apply.ts';
import { capture } from './command/capture.ts';
import { controller } from './command/controller.ts';
import { createCommands, updateCommands } from './command/create.ts';
import { director } from './command/director.ts';
import { eipAllocate, eipBind, eipRelease, eipUnbind } from './command/eip.ts';
import { endpoint } from './command/endpoint.ts';
import { explain } from './command/explain.ts';
import { get, remove } from './command/get.ts';
import { ldCommands } from './command/ld.ts';
import { logs } from './command/logs.ts';
import { proxy } from './command/proxy.ts';
import { sidecar } from './command/sidecar.ts';
import { shadow } from './command/shadow.ts';
import { health, status } from './command/status.ts';
import { targetAdd, targetRemove, targetWeight } from './command/target.ts';
import { top } from './command/top.ts';
import { up } from './command/up.ts';

export const commands: readonly Command[] = [
  up,
  controller,
  director,
  endpoint,
  proxy,
  sidecar,
  announce,
  apply,
  ...createCommands,
  ...updateCommands,
  remove,
  targetAdd,
  targetWeight,
  targetRemove,
  eipAllocate,
  eipBind,
  eipUnbind,
  eipRelease,
  get,
  status,
  health,
  top,
  ...ldCommands,
  capture,
  logs,
  explain,
  shadow,
];

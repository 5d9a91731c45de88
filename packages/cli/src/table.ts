// Every command, in the order of help and of docs/reference/cli.md.
import type { Command } from './command.ts';
import { eipAllocate, eipBind, eipRelease, eipUnbind } from './command/eip.ts';
import { explain } from './command/explain.ts';
import { get, remove } from './command/get.ts';

export const commands: readonly Command[] = [remove, eipAllocate, eipBind, eipUnbind, eipRelease, get, explain];

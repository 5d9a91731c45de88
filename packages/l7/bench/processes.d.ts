import { type ChildProcess } from 'node:child_process';
export declare const hasCommand: (name: string) => boolean;
/** Runs on one core where the machine lets us choose. */
export declare function pinned(core: number, command: string, args: readonly string[]): [string, string[]];
export declare class Bench {
    #private;
    readonly folder: string;
    constructor();
    start(core: number, command: string, args: readonly string[], port: number): Promise<ChildProcess>;
    node(core: number, script: string, args: readonly string[], port: number): Promise<ChildProcess>;
    nginx(core: number, name: string, config: string, port: number): Promise<ChildProcess>;
    close(): void;
}
/** Processor time of a process and its children in microseconds: it holds still when other work takes the cores away. 0 where /proc is absent. */
export declare function cpuMicroseconds(child: ChildProcess): number;
export declare function freePort(): Promise<number>;
/** Requests per second from `connections` keep-alive connections during `seconds`: wrk where it is installed, else our own. */
export declare function load(url: string, connections: number, seconds: number): Promise<number>;

// The small public API of `openclb`: a load balancer in your own process, and its configuration checked as clb checks it.
export { type Applied, up, type Up, type UpOptions } from './up/up.ts';
export { ConfigError, loadConfig, type LoadedConfig, parseConfig } from './config/load.ts';
export type { Issue } from './config/source.ts';
export { CliError } from './errors.ts';

// The proxy of the bench in its own process: `proxy.ts <port> <target port> [access log file] [certificate] [key]`.
import { readFileSync } from 'node:fs';
import { createLogWriter, createProxy } from '../src/index.ts';

const [, , port = '0', target = '0', log = '', certificate = '', key = ''] = process.argv;
const accessLog = log === '' ? undefined : createLogWriter({ path: log }).write;
const pair =
  certificate === '' ? null : { certificate: readFileSync(certificate, 'utf8'), privateKey: readFileSync(key, 'utf8') };
await createProxy({
  listen: { host: '127.0.0.1', port: Number(port) },
  targets: [`http://127.0.0.1:${target}`],
  limits: { requestsPerConnectionMax: 1e9 },
  ...(accessLog === undefined ? {} : { accessLog }),
  ...(pair === null ? {} : { certificateIds: ['bench'], certificates: () => pair }),
});
// Memory is measured after a collection: `node --expose-gc`.
process.on('SIGUSR2', () => (globalThis as { gc?: () => void }).gc?.());

// The proxy of the bench in its own process: `proxy.ts <port> <target port> [access log file]`.
import { createLogWriter, createProxy } from '../src/index.ts';

const [, , port = '0', target = '0', log] = process.argv;
const accessLog = log === undefined ? undefined : createLogWriter({ path: log }).write;
await createProxy({
  listen: { host: '127.0.0.1', port: Number(port) },
  targets: [`http://127.0.0.1:${target}`],
  limits: { requestsPerConnectionMax: 1e9 },
  ...(accessLog === undefined ? {} : { accessLog }),
});

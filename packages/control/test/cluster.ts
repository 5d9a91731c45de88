// A controller for tests: its app, short calls of its API, and a document that has one of everything.
import type { Config } from '@openclb/model';
import type { FastifyInstance } from 'fastify';
import { type ControllerOptions, createController } from '../src/index.ts';

export const API_KEY = 'test-api-key';
export const JOIN_TOKEN = 'test-join-token';

export interface Answer {
  readonly status: number;
  // oxlint-disable-next-line typescript/no-explicit-any -- a test reads any field of any body
  readonly body: any;
}

export interface TestController {
  readonly app: FastifyInstance;
  call(
    method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer>;
}

export async function startTestController(options: Partial<ControllerOptions> = {}): Promise<TestController> {
  const app = await createController({ store: ':memory:', joinToken: JOIN_TOKEN, apiKeys: [API_KEY], ...options });
  return {
    app,
    async call(method, path, body, headers = {}) {
      const response = await app.inject({
        method,
        url: `/v1${path}`,
        headers: { authorization: `Bearer ${API_KEY}`, ...headers },
        ...(body === undefined ? {} : { payload: body as object }),
      });
      return { status: response.statusCode, body: response.body === '' ? undefined : response.json() };
    },
  };
}

export function sampleConfig(): Config {
  return {
    vpcs: [{ id: 100, cidrs: ['10.0.0.0/24'] }, { id: 200 }],
    nodes: [
      { id: 'ld1', role: 'director', underlay: { v4: '10.255.0.1' } },
      { id: 'ld2', role: 'director', underlay: { v4: '10.255.0.2' } },
      { id: 'px1', role: 'proxy', underlay: { v4: '10.255.0.21' } },
      { id: 'host1', role: 'endpoint', underlay: { v4: '10.255.0.11' } },
      { id: 'host2', role: 'endpoint', underlay: { v4: '10.255.0.12' } },
      { id: 'phys1', role: 'endpoint', underlay: { v4: '10.255.0.31' } },
    ],
    instances: [
      { name: 'vm-a1', vpcId: 100, addresses: ['10.0.0.2'], host: 'host1', device: 'vm-a1', mac: '02:00:00:00:00:01' },
      { name: 'vm-a2', vpcId: 100, addresses: ['10.0.0.3'], host: 'host2', device: 'vm-a2', mac: '02:00:00:00:00:02' },
      { name: 'vm-b1', vpcId: 200, addresses: ['10.0.0.2'], host: 'host2', device: 'vm-b1', mac: '02:00:00:00:00:03' },
    ],
    loadBalancers: [
      {
        name: 'web',
        vips: ['203.0.113.10', '2001:db8:cb::10'],
        listeners: [
          {
            protocol: 'TCP',
            port: 80,
            healthCheck: { intervalSeconds: 2, healthyThreshold: 2, unhealthyThreshold: 2 },
            targets: [
              { vpc: 100, address: '10.0.0.2', port: 8080, weight: 20 },
              { vpc: 100, address: '10.0.0.3', port: 8080 },
              { physical: '10.255.0.31', port: 8080 },
            ],
          },
          {
            protocol: 'HTTP',
            port: 8080,
            rules: [
              { domain: 'a.example', path: '/', targets: [{ vpc: 100, address: '10.0.0.2', port: 8080 }] },
              {
                domain: 'b.example',
                path: '/x/',
                targets: [{ vpc: 200, address: '10.0.0.2', port: 8080 }],
                isDefault: true,
              },
            ],
          },
        ],
      },
      {
        name: 'other',
        vips: ['203.0.113.20'],
        listeners: [{ protocol: 'TCP', port: 80, targets: [{ vpc: 200, address: '10.0.0.2', port: 8080 }] }],
      },
    ],
    eips: [{ name: 'out', address: '198.18.0.9', bind: { vpc: 100, address: '10.0.0.3' } }],
  };
}

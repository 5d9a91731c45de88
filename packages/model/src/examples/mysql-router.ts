// Example of a plugin: MySQL logins are routed by user and schema, as one would with tenants or with read replicas.
import { definePlugin, type Plugin } from '../plugin.ts';

export interface MysqlRoute {
  /** Left out: any. */
  readonly user?: string;
  readonly schema?: string;
  /** Id of a group in `relay.mysql.targetGroups` of the listener. */
  readonly targetGroup: string;
}

/** The first route that fits; the listener's own group where none does. */
export function mysqlRouterPlugin(routes: readonly MysqlRoute[]): Plugin {
  return definePlugin({
    name: 'mysql-routes',
    setup(api) {
      api.add('mysqlRouter', {
        name: 'mysql-routes',
        route: (login) =>
          routes.find(({ user = login.user, schema = login.schema }) => user === login.user && schema === login.schema)
            ?.targetGroup,
      });
    },
  });
}

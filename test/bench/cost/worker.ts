/**
 * The Worker of functions/index.ts with counters around what the platform bills: calls and rows of objects, rows of
 * D1, operations of queues. `GET /counters` tells them and begins anew.
 */

import type { Env } from "../../../functions/env.ts";
import worker, { AccountObject as Account, PoolObject as Pool } from "../../../functions/index.ts";

const zero = () => ({
  requests: 0,
  accountCalls: 0,
  poolCalls: 0,
  alarms: 0,
  accountRowsWritten: 0,
  poolRowsWritten: 0,
  d1Queries: 0,
  d1RowsRead: 0,
  d1RowsWritten: 0,
  queueMessages: 0,
  queueBatches: 0,
});
export type Counters = ReturnType<typeof zero>;

/** One isolate runs the Worker and its objects in a local run, so this is all of them. */
let counters = zero();

function countRows(ctx: DurableObjectState, name: "accountRowsWritten" | "poolRowsWritten"): void {
  const { sql } = ctx.storage;
  const exec = sql.exec.bind(sql);
  const cursors: { rowsWritten: number }[] = [];
  sql.exec = ((query: string, ...values: never[]) => {
    const cursor = exec(query, ...values);
    // A cursor knows its rows when it has run; the next statement comes later.
    cursors.push(cursor);
    for (const done of cursors.splice(0, cursors.length - 1)) counters[name] += done.rowsWritten;
    return cursor;
  }) as typeof sql.exec;
  const setAlarm = ctx.storage.setAlarm.bind(ctx.storage);
  ctx.storage.setAlarm = (async (...given: Parameters<typeof setAlarm>) => {
    counters[name]++; // Setting an alarm is billed as a row.
    await setAlarm(...given);
  }) as typeof setAlarm;
}

// Whatever else the Worker exports, as it is.
export * from "../../../functions/index.ts";

export class AccountObject extends Account {
  constructor(ctx: DurableObjectState, env: Env) {
    countRows(ctx, "accountRowsWritten");
    super(ctx, counting(env));
  }
  override async alarm(): Promise<void> {
    counters.alarms++;
    await super.alarm();
  }
}

export class PoolObject extends Pool {
  constructor(ctx: DurableObjectState, env: Env) {
    countRows(ctx, "poolRowsWritten");
    super(ctx, counting(env));
  }
}

/** Counts each call of a stub's methods. */
function stubs<T extends Rpc.DurableObjectBranded>(
  namespace: DurableObjectNamespace<T>,
  name: "accountCalls" | "poolCalls",
): DurableObjectNamespace<T> {
  const counted = (stub: object) =>
    new Proxy(stub, {
      get(target, key) {
        const value = Reflect.get(target, key);
        if (typeof value !== "function") return value;
        return (...given: unknown[]) => {
          counters[name]++;
          return Reflect.apply(value, target, given);
        };
      },
    });
  return new Proxy(namespace, {
    get(target, key) {
      const value = Reflect.get(target, key);
      if (typeof value !== "function") return value;
      return (...given: unknown[]) => {
        const made: object = Reflect.apply(value, target, given);
        if (key === "getByName" || key === "get") return counted(made);
        return key === "jurisdiction" ? stubs(made as DurableObjectNamespace<T>, name) : made;
      };
    },
  });
}

function database(db: D1Database): D1Database {
  const add = (results: readonly D1Result[]) => {
    counters.d1Queries += results.length;
    for (const { meta } of results) {
      counters.d1RowsRead += meta.rows_read ?? 0;
      counters.d1RowsWritten += meta.rows_written ?? 0;
    }
  };
  const originals = new WeakMap<object, D1PreparedStatement>();
  const statement = (real: D1PreparedStatement): D1PreparedStatement => {
    const wrapped = new Proxy(real, {
      get(target, key) {
        const value = Reflect.get(target, key);
        if (typeof value !== "function") return value;
        if (key === "bind") return (...given: unknown[]) => statement(target.bind(...given));
        return async (...given: unknown[]) => {
          const result = await Reflect.apply(value, target, given);
          if (key === "run" || key === "all") add([result as D1Result]);
          else counters.d1Queries++; // raw() and first() tell rows only.
          return result;
        };
      },
    });
    originals.set(wrapped, real);
    return wrapped;
  };
  return new Proxy(db, {
    get(target, key) {
      const value = Reflect.get(target, key);
      if (key === "prepare") return (query: string) => statement(target.prepare(query));
      if (key === "batch")
        return async (statements: D1PreparedStatement[]) => {
          const results = await target.batch(statements.map((one) => originals.get(one) ?? one));
          add(results);
          return results;
        };
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

function queue<T>(real: Queue<T>): Queue<T> {
  return new Proxy(real, {
    get(target, key) {
      const value = Reflect.get(target, key);
      if (typeof value !== "function") return value;
      return (...given: unknown[]) => {
        counters.queueMessages += key === "sendBatch" ? [...(given[0] as Iterable<unknown>)].length : 1;
        return Reflect.apply(value, target, given);
      };
    },
  });
}

const known = new WeakMap<object, Env>();

/** The bindings that are billed by use, counted; whatever else is bound stays as it is. */
function counting(env: Env): Env {
  let counted = known.get(env);
  if (!counted) {
    counted = Object.create(env) as Env;
    Object.assign(counted, {
      DB: database(env.DB),
      ACCOUNTS: stubs(env.ACCOUNTS, "accountCalls"),
      POOLS: stubs(env.POOLS, "poolCalls"),
      OUTBOX: queue(env.OUTBOX),
    });
    known.set(env, counted);
  }
  return counted;
}

export default {
  async fetch(request: Request, env: Env, ctx: ExecutionContext): Promise<Response> {
    if (new URL(request.url).pathname === "/counters") {
      const told = counters;
      counters = zero();
      return Response.json(told);
    }
    counters.requests++;
    return worker.fetch(request as never, counting(env), ctx);
  },
  async queue(batch: MessageBatch<never>, env: Env, ctx: ExecutionContext): Promise<void> {
    counters.queueBatches++;
    await worker.queue(batch, counting(env), ctx as never);
  },
};

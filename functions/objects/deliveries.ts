/**
 * The clock of an account's webhooks: an alarm for the earliest delivery that is due again. It holds no deliveries
 * (D1 does), so that a lost message, a dead isolate, a restart and a back-off of days all end the same way: the alarm
 * rings, and what D1 says is due goes into the queue. A queue alone delays a day at most, and forgets at a restart
 * where it runs in memory.
 */
import { DurableObject } from "cloudflare:workers";
import { and, asc, eq, inArray, lt, lte, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { encodeTime } from "ulid";
import { DAY_MS, MINUTE_MS, SECOND_MS } from "../clock.ts";
import { webhookDeliveries, webhookEndpoints, webhookEvents } from "../db/d1/schema.ts";
import type { Env } from "../env.ts";
import { framesOf } from "../errors.ts";
import type { AccountId, DeliveryId, EndpointId, EventId } from "../ids.ts";
import { AT_ONCE } from "../webhooks/deliver.ts";
import { enqueue } from "../webhooks/dispatch.ts";

/** How long deliveries can be looked at. */
const KEPT_MS = 35 * DAY_MS;
const MAX_SWEPT = 500;
/** What is in the queue by then is looked at again. */
const AGAIN_MS = 15 * SECOND_MS;

export class DeliveriesObject extends DurableObject<Env> {
  /** Rings then at the latest. */
  async wake(account: AccountId, at: number): Promise<void> {
    const { storage } = this.ctx;
    // Neither waits: both are in the one write of this turn. An alarm does not know its object's name.
    if ((await storage.get("account")) !== account) storage.put("account", account);
    const set = await storage.getAlarm();
    if (set === null || set > at) await storage.setAlarm(Math.max(at, Date.now()));
  }

  override async alarm(): Promise<void> {
    const account = await this.ctx.storage.get<AccountId>("account");
    if (account === undefined) return;
    try {
      const at = await this.#ring(account, Date.now());
      if (at !== undefined) await this.wake(account, at);
    } catch (error) {
      // An alarm that throws six times is never rung again.
      console.error(`webhooks of ${account} are looked at again: ${framesOf(error)}`);
      await this.wake(account, Date.now() + MINUTE_MS);
    }
  }

  /** Puts what is due into the queue. Answers when to look again. */
  async #ring(account: AccountId, now: number): Promise<number | undefined> {
    const db = drizzle(this.env.DB);
    const endpoints = await db
      .select({ id: webhookEndpoints.id })
      .from(webhookEndpoints)
      .where(eq(webhookEndpoints.account, account));
    const times = await Promise.all(
      endpoints.map(async ({ id: endpoint }) => {
        const pending = and(eq(webhookDeliveries.endpoint, endpoint), eq(webhookDeliveries.state, "pending"));
        // A few of each: the ends of their attempts bring up the rest.
        const [due, [later]] = await db.batch([
          db
            .select({ delivery: webhookDeliveries.id })
            .from(webhookDeliveries)
            .where(and(pending, lte(webhookDeliveries.nextAttemptAt, now)))
            .orderBy(asc(webhookDeliveries.nextAttemptAt))
            .limit(AT_ONCE),
          db
            .select({ at: sql<number | null>`min(${webhookDeliveries.nextAttemptAt})` })
            .from(webhookDeliveries)
            .where(and(pending, sql`${webhookDeliveries.nextAttemptAt} > ${now}`)),
        ]);
        await enqueue(
          this.env,
          due.map(({ delivery }) => ({ delivery, endpoint, account })),
        );
        return due.length > 0 ? now + AGAIN_MS : (later?.at ?? undefined);
      }),
    );
    await this.#sweep(
      endpoints.map(({ id }) => id),
      now - KEPT_MS,
    );
    const known = times.filter((at) => at !== undefined);
    return known.length > 0 ? Math.min(...known) : undefined;
  }

  /** What is older than anybody may look at. Ids begin with their time. */
  async #sweep(endpoints: readonly EndpointId[], before: number): Promise<void> {
    const db = drizzle(this.env.DB);
    const time = encodeTime(before, 10);
    const oldDeliveries = db
      .select({ id: webhookDeliveries.id })
      .from(webhookDeliveries)
      .where(
        and(
          inArray(webhookDeliveries.endpoint, endpoints),
          lt(webhookDeliveries.id, `whdl_${time}` as DeliveryId),
        ),
      )
      .limit(MAX_SWEPT);
    const oldEvents = db
      .select({ id: webhookEvents.id })
      .from(webhookEvents)
      .where(lt(webhookEvents.id, `evt_${time}` as EventId))
      .limit(MAX_SWEPT);
    await db.batch([
      db.delete(webhookDeliveries).where(inArray(webhookDeliveries.id, oldDeliveries)),
      db.delete(webhookEvents).where(inArray(webhookEvents.id, oldEvents)),
    ]);
  }
}

CREATE TABLE `stripe_events` (
	`id` text PRIMARY KEY NOT NULL,
	`type` text NOT NULL,
	`at` integer NOT NULL,
	`outcome` text NOT NULL,
	`account` text,
	`session` text,
	`amount` integer
) WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `webhook_deliveries` (
	`id` text PRIMARY KEY NOT NULL,
	`account` text NOT NULL,
	`endpoint` text NOT NULL,
	`event` text NOT NULL,
	`state` text NOT NULL,
	`attempts` text NOT NULL,
	`tries` integer NOT NULL,
	`next_attempt_at` integer,
	`claimed_until` integer,
	`created_at` integer NOT NULL
) WITHOUT ROWID;
--> statement-breakpoint
CREATE INDEX `webhook_deliveries_endpoint` ON `webhook_deliveries` (`endpoint`,`id`);--> statement-breakpoint
CREATE INDEX `webhook_deliveries_running` ON `webhook_deliveries` (`endpoint`) WHERE "webhook_deliveries"."claimed_until" is not null;--> statement-breakpoint
CREATE INDEX `webhook_deliveries_due` ON `webhook_deliveries` (`endpoint`,`next_attempt_at`) WHERE "webhook_deliveries"."state" = 'pending';--> statement-breakpoint
CREATE TABLE `webhook_endpoints` (
	`id` text PRIMARY KEY NOT NULL,
	`account` text NOT NULL,
	`url` text NOT NULL,
	`description` text NOT NULL,
	`events` text NOT NULL,
	`state` text NOT NULL,
	`disabled_because` text,
	`secrets` text NOT NULL,
	`failing_since` integer,
	`created_at` integer NOT NULL
) WITHOUT ROWID;
--> statement-breakpoint
CREATE INDEX `webhook_endpoints_account` ON `webhook_endpoints` (`account`);--> statement-breakpoint
CREATE TABLE `webhook_events` (
	`id` text PRIMARY KEY NOT NULL,
	`type` text NOT NULL,
	`at` integer NOT NULL,
	`data` text NOT NULL
) WITHOUT ROWID;
--> statement-breakpoint
ALTER TABLE `fleet_events` ADD `told` integer DEFAULT true NOT NULL;--> statement-breakpoint
CREATE INDEX `fleet_events_regions` ON `fleet_events` (`at`) WHERE "fleet_events"."backend" is null;--> statement-breakpoint
CREATE INDEX `fleet_events_untold` ON `fleet_events` (`id`) WHERE "fleet_events"."told" = 0;
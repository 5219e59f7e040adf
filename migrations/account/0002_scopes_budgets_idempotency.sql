CREATE TABLE `idempotency` (
	`day` integer NOT NULL,
	`id` text NOT NULL,
	`fingerprint` text NOT NULL,
	`made` text NOT NULL,
	`at` integer NOT NULL,
	PRIMARY KEY(`day`, `id`)
) WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `tallies` (
	`key_id` text NOT NULL,
	`day` integer NOT NULL,
	`spent` integer NOT NULL,
	PRIMARY KEY(`key_id`, `day`)
) WITHOUT ROWID;
--> statement-breakpoint
ALTER TABLE `keys` ADD `scopes` text DEFAULT '["inference","usage"]' NOT NULL;--> statement-breakpoint
ALTER TABLE `keys` ADD `expires_at` integer;--> statement-breakpoint
ALTER TABLE `keys` ADD `last_used_at` integer;--> statement-breakpoint
ALTER TABLE `keys` ADD `budget_day` integer;--> statement-breakpoint
ALTER TABLE `keys` ADD `budget_month` integer;--> statement-breakpoint
ALTER TABLE `keys` ADD `successor` text;--> statement-breakpoint
ALTER TABLE `keys` ADD `lineage` text;--> statement-breakpoint
ALTER TABLE `reservations` ADD `once` text;--> statement-breakpoint
ALTER TABLE `state` ADD `budget_day` integer;--> statement-breakpoint
ALTER TABLE `state` ADD `budget_month` integer;--> statement-breakpoint
ALTER TABLE `state` ADD `tallied` integer DEFAULT 0 NOT NULL;
CREATE TABLE `alerts` (
	`id` integer PRIMARY KEY NOT NULL,
	`wanted` text NOT NULL,
	`balance_low` integer,
	`low` integer NOT NULL,
	`usage` text NOT NULL,
	`told` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `notices` (
	`id` text PRIMARY KEY NOT NULL,
	`type` text NOT NULL,
	`at` integer NOT NULL,
	`data` text NOT NULL
) WITHOUT ROWID;

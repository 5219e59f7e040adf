CREATE TABLE `accounts` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`jurisdiction` text,
	`created_at` integer NOT NULL
) WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `backends` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`region` text NOT NULL,
	`model` text NOT NULL,
	`served_as` text NOT NULL,
	`kind` text NOT NULL,
	`chip` text NOT NULL,
	`plays` text,
	`url` text NOT NULL,
	`secret_name` text NOT NULL,
	`state` text NOT NULL,
	`created_at` integer NOT NULL
) WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `events` (
	`account` text NOT NULL,
	`sequence` integer NOT NULL,
	`kind` text NOT NULL,
	`at` integer NOT NULL,
	`amount` integer NOT NULL,
	`balance` integer NOT NULL,
	`reference` text,
	`request_id` text,
	`key_id` text,
	`model` text,
	`region` text,
	`backend` text,
	`ending` text,
	`finish_reason` text,
	`input` integer,
	`cached_input` integer,
	`output` integer,
	`reasoning` integer,
	`source` text,
	`price_id` text,
	`held` integer,
	`admitted_at` integer,
	`ttft_ms` integer,
	`duration_ms` integer,
	`attempts` text,
	PRIMARY KEY(`account`, `sequence`)
) WITHOUT ROWID;
--> statement-breakpoint
CREATE INDEX `events_request` ON `events` (`request_id`);--> statement-breakpoint
CREATE TABLE `marks` (
	`account` text PRIMARY KEY NOT NULL,
	`mark` integer NOT NULL
) WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `models` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`description` text NOT NULL,
	`owned_by` text NOT NULL,
	`context_length` integer NOT NULL,
	`default_max_output_tokens` integer NOT NULL,
	`created_at` integer NOT NULL
) WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `prices` (
	`id` text PRIMARY KEY NOT NULL,
	`model` text NOT NULL,
	`effective_at` integer NOT NULL,
	`input` integer NOT NULL,
	`cached_input` integer NOT NULL,
	`output` integer NOT NULL,
	`created_at` integer NOT NULL
) WITHOUT ROWID;
--> statement-breakpoint
CREATE INDEX `prices_model` ON `prices` (`model`,`effective_at`);--> statement-breakpoint
CREATE TABLE `regions` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`zone` text NOT NULL,
	`simulated_distance_ms` integer
) WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `rollups` (
	`account` text NOT NULL,
	`bucket` integer NOT NULL,
	`model` text NOT NULL,
	`region` text NOT NULL,
	`backend` text NOT NULL,
	`key_id` text NOT NULL,
	`requests` integer NOT NULL,
	`failures` integer NOT NULL,
	`input` integer NOT NULL,
	`cached_input` integer NOT NULL,
	`output` integer NOT NULL,
	`reasoning` integer NOT NULL,
	`cost` integer NOT NULL,
	`ttft` blob NOT NULL,
	`speed` blob NOT NULL,
	PRIMARY KEY(`account`, `bucket`, `model`, `region`, `backend`, `key_id`)
) WITHOUT ROWID;

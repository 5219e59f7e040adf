CREATE TABLE `credits` (
	`reference` text PRIMARY KEY NOT NULL,
	`sequence` integer NOT NULL
) WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `inquiries` (
	`request_id` text PRIMARY KEY NOT NULL,
	`attempt` text NOT NULL,
	`backend` text NOT NULL,
	`sequence` integer NOT NULL,
	`held` integer NOT NULL,
	`input_rate` integer NOT NULL,
	`cached_input_rate` integer NOT NULL,
	`output_rate` integer NOT NULL,
	`max_input` integer NOT NULL,
	`max_output` integer NOT NULL,
	`tries` integer NOT NULL,
	`next_at` integer NOT NULL
) WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `journal` (
	`sequence` integer PRIMARY KEY NOT NULL,
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
	`attempts` text
);
--> statement-breakpoint
CREATE TABLE `keys` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`hash` text NOT NULL,
	`hint` text NOT NULL,
	`created_at` integer NOT NULL,
	`revoked_at` integer,
	`requests_per_minute` integer,
	`tokens_per_minute` integer
) WITHOUT ROWID;
--> statement-breakpoint
CREATE UNIQUE INDEX `keys_hash` ON `keys` (`hash`);--> statement-breakpoint
CREATE TABLE `reservations` (
	`request_id` text PRIMARY KEY NOT NULL,
	`key_id` text NOT NULL,
	`model` text NOT NULL,
	`held` integer NOT NULL,
	`max_input` integer NOT NULL,
	`max_output` integer NOT NULL,
	`price_id` text NOT NULL,
	`input_rate` integer NOT NULL,
	`cached_input_rate` integer NOT NULL,
	`output_rate` integer NOT NULL,
	`admitted_at` integer NOT NULL,
	`deadline_at` integer NOT NULL,
	`epoch` integer NOT NULL,
	`attempt` text NOT NULL,
	`backend` text NOT NULL,
	`region` text NOT NULL,
	`counted` text
) WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `state` (
	`id` integer PRIMARY KEY NOT NULL,
	`account` text NOT NULL,
	`opened_at` integer NOT NULL,
	`opening` integer NOT NULL,
	`mark` integer NOT NULL,
	`epoch` integer NOT NULL,
	`lease_id` text NOT NULL
);

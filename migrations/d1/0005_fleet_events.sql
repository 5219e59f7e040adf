CREATE TABLE `fleet_events` (
	`id` integer PRIMARY KEY NOT NULL,
	`at` integer NOT NULL,
	`region` text NOT NULL,
	`backend` text,
	`kind` text NOT NULL,
	`message` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `fleet_outages` (
	`kind` text NOT NULL,
	`subject` text NOT NULL,
	`since` integer NOT NULL,
	PRIMARY KEY(`kind`, `subject`)
) WITHOUT ROWID;

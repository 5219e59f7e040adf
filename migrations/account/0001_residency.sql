ALTER TABLE `keys` ADD `residency` text;--> statement-breakpoint
ALTER TABLE `state` ADD `residency` text;
ALTER TABLE `backends` ADD `cost_input` integer;--> statement-breakpoint
ALTER TABLE `backends` ADD `cost_cached_input` integer;--> statement-breakpoint
ALTER TABLE `backends` ADD `cost_output` integer;
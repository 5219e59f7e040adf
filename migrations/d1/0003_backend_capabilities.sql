ALTER TABLE `backends` ADD `context_length` integer;--> statement-breakpoint
ALTER TABLE `backends` ADD `tools` integer;--> statement-breakpoint
ALTER TABLE `backends` ADD `max_concurrent` integer;--> statement-breakpoint
ALTER TABLE `backends` ADD `max_waiting` integer;--> statement-breakpoint
ALTER TABLE `backends` ADD `prefill_tokens_per_second` real;--> statement-breakpoint
ALTER TABLE `backends` ADD `decode_tokens_per_second` real;
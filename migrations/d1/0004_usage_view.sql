ALTER TABLE `accounts` ADD `fleet_view` text;--> statement-breakpoint
ALTER TABLE `events` ADD `trace` text;--> statement-breakpoint
ALTER TABLE `rollups` ADD `client_left` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `rollups` ADD `refused` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `rollups` ADD `failed_over` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
-- What the sums of before lack is in their events.
UPDATE `rollups` SET `client_left` = e.`client_left`, `refused` = e.`refused`, `failed_over` = e.`failed_over`
FROM (
  SELECT `account`, `at` - `at` % 900000 AS `bucket`, coalesce(`model`, '') AS `model`, coalesce(`region`, '') AS `region`,
    coalesce(`backend`, '') AS `backend`, coalesce(`key_id`, '') AS `key_id`, sum(`ending` IS 'client_left') AS `client_left`,
    sum(`ending` IS 'refused') AS `refused`, sum(coalesce(json_array_length(`attempts`), 0) > 1) AS `failed_over`
  FROM `events` WHERE `kind` = 'usage' GROUP BY 1, 2, 3, 4, 5, 6
) AS e
WHERE `rollups`.`account` = e.`account` AND `rollups`.`bucket` = e.`bucket` AND `rollups`.`model` = e.`model`
  AND `rollups`.`region` = e.`region` AND `rollups`.`backend` = e.`backend` AND `rollups`.`key_id` = e.`key_id`;

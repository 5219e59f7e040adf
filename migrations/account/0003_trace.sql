ALTER TABLE `journal` ADD `trace` text;

/** How long what was rotated goes on, in seconds, as it is offered. The API takes any whole number up to a week. */
export const OVERLAPS: Readonly<Record<string, string>> = {
  "0": "no longer: it ends now",
  "3600": "an hour",
  "86400": "a day",
  "604800": "a week",
};

/** What JavaScript calls. */

export { lastValueRead } from "./commands";
export { runAlone, runShared, spin, stop, work } from "./threads";

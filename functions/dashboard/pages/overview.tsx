/** The Overview; its parts are in overview/. */
export { default } from "./overview/page.tsx";

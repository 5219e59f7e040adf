/** The icons that are used, drawn in the text's colour. They are beside words and say nothing of their own. */

import drain from "lucide-static/icons/arrow-down-to-line.svg?raw";
import braces from "lucide-static/icons/braces.svg?raw";
import chart from "lucide-static/icons/chart-column.svg?raw";
import check from "lucide-static/icons/circle-check.svg?raw";
import cross from "lucide-static/icons/circle-x.svg?raw";
import globe from "lucide-static/icons/globe.svg?raw";
import key from "lucide-static/icons/key-round.svg?raw";
import list from "lucide-static/icons/list.svg?raw";
import logOut from "lucide-static/icons/log-out.svg?raw";
import moon from "lucide-static/icons/moon.svg?raw";
import search from "lucide-static/icons/search.svg?raw";
import shuffle from "lucide-static/icons/shuffle.svg?raw";
import sun from "lucide-static/icons/sun.svg?raw";
import warn from "lucide-static/icons/triangle-alert.svg?raw";
import wallet from "lucide-static/icons/wallet.svg?raw";
import close from "lucide-static/icons/x.svg?raw";

const ICONS = {
  braces,
  chart,
  check,
  close,
  cross,
  drain,
  globe,
  key,
  list,
  logOut,
  moon,
  search,
  shuffle,
  sun,
  warn,
  wallet,
};
export type IconName = keyof typeof ICONS;

export function Icon({ name }: { name: IconName }) {
  const draw = (element: HTMLElement | null) => {
    if (element && element.dataset.icon !== name) {
      element.innerHTML = ICONS[name];
      element.dataset.icon = name;
    }
  };
  return <span class="icon" aria-hidden="true" ref={draw} />;
}

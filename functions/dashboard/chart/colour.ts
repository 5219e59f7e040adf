/** A custom property as the canvas understands it: the probe resolves var() and light-dark(). */
export function colours(parent: HTMLElement): (name: string) => string {
  const probe = document.createElement("i");
  probe.hidden = true;
  parent.append(probe);
  const known = new Map<string, string>();
  return (name) => {
    const theme = getComputedStyle(parent).colorScheme + document.documentElement.dataset.theme;
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const id = `${name} ${theme} ${dark}`;
    let value = known.get(id);
    if (value === undefined) {
      probe.style.color = `var(${name})`;
      known.set(id, (value = getComputedStyle(probe).color));
    }
    return value;
  };
}

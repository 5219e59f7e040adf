/** A share as a bar beside its figure: it says nothing of its own. */
export function Meter({ share, colour = "--s1" }: { share: number | null; colour?: string }) {
  const fill = (element: HTMLElement | null) => {
    if (!element) return;
    element.style.width = `${Math.max(0, Math.min(1, share ?? 0)) * 100}%`;
    element.style.background = `var(${colour})`;
  };
  return (
    <span class="meter" aria-hidden="true">
      <i ref={fill} />
    </span>
  );
}

/** A dialog of the browser's own: it holds the focus, Escape closes it, and the focus goes back. */
import "./styles/form.css";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";

/** `kept`: Escape does not close it, since what it shows is shown once. */
export function Dialog({
  title,
  onClose,
  kept = false,
  children,
}: {
  title: string;
  onClose: () => void;
  kept?: boolean;
  children: ComponentChildren;
}) {
  const box = useRef<HTMLDialogElement>(null);
  /** Its place was given to something else: that it closes is nobody's wish. */
  const isGone = useRef(false);
  const name = useId();
  useEffect(() => {
    const element = box.current!;
    element.showModal();
    return () => {
      isGone.current = true;
      element.close();
    };
  }, []);
  return (
    <dialog
      ref={box}
      aria-labelledby={name}
      onClose={() => !isGone.current && onClose()}
      onCancel={(event) => kept && event.preventDefault()}
      // A second Escape would close it whatever `cancel` says.
      onKeyDown={(event) => kept && event.key === "Escape" && event.preventDefault()}
    >
      <h2 id={name}>{title}</h2>
      {children}
    </dialog>
  );
}

import "./styles/tokens.css";
import "./styles/page.css";
import { render } from "preact";
import { loadSession } from "./api.ts";
import { App } from "./app.tsx";
// Every page asks through it: it comes along with the shell, not after a page's own chunk.
import "./query.ts";
import { Failed } from "./parts.tsx";
import { applyStored } from "./theme.ts";

applyStored();
const root = document.getElementById("app")!;
render(<App />, root);
loadSession().catch((error: Error) =>
  render(
    <main>
      <h1>Causeway</h1>
      <Failed error={error} again={() => location.reload()} />
    </main>,
    root,
  ),
);

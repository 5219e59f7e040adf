/** The page's frame: who is signed in, the menu, and the page that the address names. */

import { useState } from "preact/hooks";
import lazy, { ErrorBoundary } from "preact-iso/lazy";
import { LocationProvider, Route, Router, useLocation } from "preact-iso/router";
import { may, session, signOut } from "./api.ts";
import { Icon, type IconName } from "./icon.tsx";
import { Head, Loading } from "./parts.tsx";
import { SignIn } from "./sign-in.tsx";
import { setTheme, theme } from "./theme.ts";

const Overview = lazy(() => import("./pages/overview.tsx"));
const Billing = lazy(() => import("./pages/billing.tsx"));
const Keys = lazy(() => import("./pages/keys.tsx"));
const Requests = lazy(() => import("./pages/requests.tsx"));
const Regions = lazy(() => import("./pages/regions.tsx"));

interface Item {
  readonly path: string;
  readonly label: string;
  readonly icon: IconName;
  readonly scope: "usage" | "manage";
}
const MENU: readonly Item[] = [
  { path: "/dashboard/", label: "Overview", icon: "chart", scope: "usage" },
  { path: "/dashboard/requests", label: "Requests", icon: "list", scope: "usage" },
  { path: "/dashboard/regions", label: "Regions", icon: "globe", scope: "usage" },
  { path: "/dashboard/keys", label: "Keys", icon: "key", scope: "manage" },
  { path: "/dashboard/billing", label: "Billing", icon: "wallet", scope: "usage" },
];

export function App() {
  if (session.value === undefined) return <Loading what="the session" />;
  if (session.value === null) return <SignIn />;
  return (
    <LocationProvider scope="/dashboard">
      <Shell />
    </LocationProvider>
  );
}

function Shell() {
  return (
    <div class="shell">
      <header class="side">
        <p class="brand">Causeway</p>
        <Menu />
        <Who />
      </header>
      <main>
        {session.value?.simulated && (
          <p class="notice">Regions and chips of this run are simulated: everything runs on one machine.</p>
        )}
        <ErrorBoundary>
          <Router>
            <Route path="/dashboard" component={Overview} />
            <Route path="/dashboard/requests" component={Requests} />
            <Route path="/dashboard/regions" component={Regions} />
            <Route path="/dashboard/keys" component={Keys} />
            <Route path="/dashboard/billing" component={Billing} />
            <Route default component={Nowhere} />
          </Router>
        </ErrorBoundary>
      </main>
    </div>
  );
}

function Menu() {
  const { path, query } = useLocation();
  // Range and zone go along from page to page.
  const kept = new URLSearchParams(
    ["range", "zone", "from", "to"].flatMap((name) => (query[name] ? [[name, query[name]]] : [])),
  ).toString();
  const here = (item: Item) =>
    item.path === "/dashboard/" ? /^\/dashboard\/?$/.test(path) : path.startsWith(item.path);
  return (
    <nav class="menu" aria-label="Pages">
      {MENU.filter(({ scope }) => may(scope)).map((item) => (
        <a href={item.path + (kept && `?${kept}`)} aria-current={here(item) ? "page" : undefined}>
          <Icon name={item.icon} />
          {item.label}
        </a>
      ))}
    </nav>
  );
}

function Who() {
  const who = session.value!;
  const [shown, show] = useState(theme());
  const other = shown === "dark" ? "light" : "dark";
  const turn = () => {
    setTheme(other);
    show(other);
  };
  return (
    <div class="who">
      <p>
        {who.account.name ?? who.account.id}
        <br />
        {who.key.name} …{who.key.hint}
        <br />
        {who.environment}
      </p>
      <button type="button" onClick={turn} aria-label={`Use the ${other} theme`}>
        <Icon name={other === "dark" ? "moon" : "sun"} />
      </button>
      <button type="button" onClick={signOut}>
        Sign out
      </button>
    </div>
  );
}

function Nowhere() {
  return <Head title="No such page" about="Nothing in the dashboard has this address." />;
}

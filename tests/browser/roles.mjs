// What a role may not do is not offered, and refused where it is asked for all the same.

import { check, signIn, withPage } from "./page.mjs";

/** What buttons and links change something, by their names. */
const CHANGES = /^(New migration|Pause|Resume|Throttle|Cancel|Create a similar one|Delete|Decommission|Add a user|Change|Make a token|Make it)\b/;

/** Calls that need more than a viewer, and those that need more than an operator. */
const OF_OPERATORS = [
  ["PUT", "/migrations/another", {}],
  ["PATCH", "/migrations/NAME", { action: "pause" }],
  ["PATCH", "/migrations/NAME", { action: "cancel" }],
  ["POST", "/migrations/NAME/tokens", { side: "source" }],
  ["POST", "/test-connection", {}],
];
const OF_ADMINISTRATORS = [
  ["DELETE", "/migrations/ENDED"],
  ["POST", "/decommission", { force: true }],
  ["GET", "/audit"],
  ["GET", "/users"],
  ["PUT", "/users/mallory", { role: "admin", password: "a password that is long" }],
  ["DELETE", "/users/admin"],
  ["POST", "/tokens", { name: "mine", role: "admin", expiresInSeconds: 60 }],
];

export async function roles(settings) {
  await as(settings, "viewer", async (page) => {
    check((await offered(page, settings)).length === 0, `a viewer is offered ${await offered(page, settings)}`);
    await hidden(page, settings, ["new/setup", "decommission", "audit", "access"]);
    await refused(page, settings, [...OF_OPERATORS, ...OF_ADMINISTRATORS]);
  });
  await as(settings, "operator", async (page) => {
    const all = await offered(page, settings);
    for (const name of ["New migration", "Pause", "Throttle", "Cancel", "Create a similar one", "Make a token"]) {
      check(all.includes(name), `an operator is not offered ${name}, but ${all}`);
    }
    check(!all.some((name) => /Delete|Decommission|user/.test(name)), `an operator is offered ${all}`);
    await hidden(page, settings, ["decommission", "audit", "access"]);
    await refused(page, settings, OF_ADMINISTRATORS);
    await page.goto(`${settings.url}#/migrations/${settings.open}`);
    await page.getByRole("button", { name: "Pause" }).click();
    await page.locator(".page-title .badge").getByText("Paused").waitFor();
  });
  await as(settings, "admin", async (page) => {
    const all = await offered(page, settings);
    for (const name of ["Delete", "Decommission", "Add a user"]) {
      check(all.includes(name), `an administrator is not offered ${name}, but ${all}`);
    }
  });
}

function as(settings, role, work) {
  const { user, password } = settings.users[role];
  return withPage(settings, async (page) => {
    await signIn(page, { ...settings, user, password });
    await work(page);
  });
}

/** What changes something, on all pages together. */
async function offered(page, settings) {
  const all = new Set();
  const paths = ["migrations", `migrations/${settings.open}`, `migrations/${settings.ended}`, "agents", "sizing", "decommission", "access"];
  const parts = ["tables", "validation", "events", "logs", "report", "job"].map((tab) => `migrations/${settings.ended}/${tab}`);
  for (const path of [...paths, ...parts]) {
    await page.goto(`${settings.url}#/${path}`);
    await page.evaluate(() => new Promise(requestAnimationFrame));
    await page.locator("main > *").first().waitFor();
    await page.locator("main .loading:visible").first().waitFor({ state: "detached" });
    const names = page.locator("main").locator("button, a.button, [role=button], input[type=submit]");
    for (const name of await names.evaluateAll((nodes) => nodes.map((node) => (node.ariaLabel ?? node.textContent).trim()))) {
      if (CHANGES.test(name)) {
        all.add(name);
      }
    }
  }
  return [...all];
}

/** Pages that are neither in the navigation nor open to who knows their address. */
async function hidden(page, settings, paths) {
  for (const path of paths) {
    check((await page.locator(`nav a[href="#/${path}"]`).count()) === 0, `${path} is in the navigation`);
    await page.goto(`${settings.url}#/${path}`);
    await page.getByText("Your role does not include this page").waitFor();
  }
}

/** Calls from the page itself, with all that its session has. */
async function refused(page, settings, calls) {
  for (const [method, path, body] of calls) {
    const address = `/api/v1${path.replace("NAME", settings.open).replace("ENDED", settings.ended)}`;
    const status = await page.evaluate(async ([to, how, what]) => {
      const { csrf } = await (await fetch("/api/v1/session")).json();
      const headers = { "X-CSRF-Token": csrf, "Content-Type": "application/json" };
      const answer = await fetch(to, { method: how, headers, body: what && JSON.stringify(what) });
      return answer.status;
    }, [address, method, body]);
    check(status === 403, `${method} ${address} is answered ${status}`);
  }
}

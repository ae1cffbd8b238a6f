// Every page of a server at work, as docs/dashboard.md shows it: migrations in each state, agents,
// checks that failed, a log of who did what. All of it is real.

import { check, noWider, picture, signIn, withPage } from "./page.mjs";

export async function pictures(settings) {
  await withPage(settings, async (page) => {
    await page.goto(settings.url);
    await page.getByLabel("Password").waitFor();
    await picture(page, settings, "login");
    await signIn(page, settings);
    await states(page, settings);
    await copying(page, settings);
    await open(page, settings, "migrations", "Migrations");
    await page.locator("tbody [role=progressbar]").first().waitFor();
    await taken(page, settings, "migrations");
    await ended(page, settings);
    await wizard(page, settings);
    await others(page, settings);
  });
}

const heading = (page, name, level = 1) => page.getByRole("heading", { name, level, exact: true }).waitFor();

const open = async (page, settings, path, name) => {
  await page.goto(`${settings.url}#/${path}`);
  await heading(page, name);
};

const tab = async (page, name) => {
  await page.getByRole("tab", { name }).click();
  await page.getByRole("tab", { name, selected: true }).waitFor();
};

async function states(page, settings) {
  await page.getByRole("radio", { name: "All", exact: true }).check({ force: true });
  for (const [name, state] of Object.entries(settings.states)) {
    const row = page.getByRole("row").filter({ has: page.getByRole("link", { name, exact: true }) });
    await row.getByText(state, { exact: true }).waitFor({ timeout: settings.patience });
  }
}

async function copying(page, settings) {
  await open(page, settings, `migrations/${settings.copying}`, settings.copying);
  await page.waitForFunction(() => Number(document.querySelector(".overview [role=progressbar]")?.ariaValueNow) >= 40, null, { timeout: settings.patience });
  await page.locator(".chart-line").first().waitFor();
  await taken(page, settings, "migration-progress");
  await tab(page, "Tables");
  await page.getByRole("table", { name: "Tables" }).getByText("Loading").first().waitFor();
  await taken(page, settings, "migration-tables");

  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  const dialog = page.getByRole("dialog", { name: "Cancel this migration" });
  await dialog.getByRole("button", { name: "Continue" }).click();
  await page.keyboard.type(settings.copying);
  await taken(page, settings, "cancel");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
}

async function ended(page, settings) {
  await open(page, settings, `migrations/${settings.invalid}/validation`, settings.invalid);
  await page.locator(".finding.failed").first().waitFor();
  await taken(page, settings, "migration-validation");
  await open(page, settings, `migrations/${settings.done}/events`, settings.done);
  await page.locator(".events tbody tr").first().waitFor();
  await taken(page, settings, "migration-events");
  await tab(page, "Report");
  await page.getByRole("button", { name: "Save", exact: true }).waitFor();
  await taken(page, settings, "migration-report");
  await tab(page, "Settings");
  await page.getByText("Migration id").waitFor();
  await taken(page, settings, "migration-settings");
  await open(page, settings, `migrations/${settings.canceled}/logs`, settings.canceled);
  await page.locator(".log").first().waitFor();
  await taken(page, settings, "migration-logs");
}

async function wizard(page, settings) {
  const next = () => page.getByRole("button", { name: "Next" }).click();
  await open(page, settings, "new/setup", "New migration");
  await page.getByLabel("Name").fill("support");
  await taken(page, settings, "wizard-1-setup");
  await next();
  await heading(page, "Runtime server", 2);
  await page.getByText(/Processors/).waitFor();
  await taken(page, settings, "wizard-2-runtime");
  await next();
  for (const [side, file] of [["source", "wizard-3-source"], ["target", "wizard-4-target"]]) {
    await page.getByLabel("Host").waitFor();
    const { host, port, user, password } = settings[side];
    await page.getByLabel("Host").fill(host);
    await page.getByLabel("Port").fill(String(port));
    await page.getByLabel("User").fill(user);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Test connection" }).click();
    await page.getByText(/^The connection works/).waitFor();
    await taken(page, settings, file);
    await next();
  }
  await heading(page, "Databases", 2);
  await page.getByLabel("Some databases").check();
  for (const name of settings.chosen) {
    await page.getByLabel(name, { exact: true }).check();
  }
  await taken(page, settings, "wizard-5-databases");
  await next();
  await heading(page, "Options", 2);
  await page.getByLabel("Copies at a time").fill("4");
  await page.getByLabel("At most").fill("50 MB");
  await taken(page, settings, "wizard-6-options");
  await next();
  await heading(page, "Review", 2);
  await taken(page, settings, "wizard-7-review");
}

async function others(page, settings) {
  for (const [path, name] of [["agents", "Agents"], ["sizing", "Sizing"], ["decommission", "Decommission"], ["audit", "Audit log"], ["access", "Access"]]) {
    await open(page, settings, path, name);
    await page.locator("main .loading:visible").first().waitFor({ state: "detached" });
    await page.locator("main table").first().waitFor();
    const wrong = await page.locator("main .callout.tone-bad").allTextContents();
    check(wrong.length === 0, `${name}: ${wrong}`);
    await taken(page, settings, path);
  }
}

/** Nothing sticks out of the page. */
async function taken(page, settings, name) {
  await page.mouse.move(0, 0);
  await noWider(page, name);
  await picture(page, settings, name);
}

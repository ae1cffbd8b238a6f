// A migration from the wizard to its end, and a look at every page. Names that look like markup
// are names.

import { check, noWider, signIn, withPage } from "./page.mjs";

export async function wizard(settings) {
  await withPage(settings, async (page) => {
    await page.goto(settings.url);
    await page.getByLabel("Password").waitFor();
    await refused(page, settings);
    await signIn(page, settings);
    await create(page, settings);
    await watch(page, settings);
    await parts(page, settings);
    await others(page, settings);
    await narrow(page, settings);
    const ran = await page.evaluate(() => window.pwned);
    check(ran === undefined, "a name was run as a script");
  });
}

async function refused(page, settings) {
  await page.getByLabel("User").fill(settings.user);
  await page.getByLabel("Password").fill("not the password");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").getByText("User or password is wrong.").waitFor();
}

const next = (page) => page.getByRole("button", { name: "Next" }).click();
const step = (page, name) => page.getByRole("heading", { name, level: 2, exact: true }).waitFor();

async function create(page, settings) {
  await page.getByRole("link", { name: "New migration" }).first().click();
  await step(page, "Setup");
  check((await page.getByText(/online/i).count()) === 0, "online is offered");

  // What is wrong is said at the field, and one stays.
  await next(page);
  await page.getByText("A name is needed.").waitFor();
  await page.getByLabel("Name").fill("first move");
  await next(page);
  await page.getByText(/Letters, digits, - and _, at most 63/).waitFor();
  await page.getByLabel("Name").fill(settings.name);
  await next(page);
  await step(page, "Runtime server");
  await page.getByText(/Processors/).waitFor();
  await next(page);

  await step(page, "Source");
  await endpoint(page, { ...settings.source, password: "not this one" });
  await page.getByRole("button", { name: "Test connection" }).click();
  await page.getByText("The connection does not work").waitFor();
  await page.getByLabel("Password").fill(settings.source.password);
  await page.getByRole("button", { name: "Test connection" }).click();
  await page.getByText(/^The connection works/).waitFor();
  await next(page);

  await step(page, "Target");
  await endpoint(page, settings.target);
  await page.getByRole("button", { name: "Test connection" }).click();
  await page.getByText(/^The connection works/).waitFor();
  await next(page);

  await step(page, "Databases");
  await page.getByLabel("Some databases").check();
  for (const name of settings.databases) {
    await page.getByLabel(name, { exact: true }).check();
  }

  // Back and forth loses nothing.
  await page.getByRole("link", { name: "Back" }).click();
  await step(page, "Target");
  check((await page.getByLabel("Host").inputValue()) === settings.target.host, "the host is lost");
  check((await page.getByLabel("Password").inputValue()) === settings.target.password, "the password is lost");
  await next(page);
  for (const name of settings.databases) {
    check(await page.getByLabel(name, { exact: true }).isChecked(), `${name} is not chosen any more`);
  }
  await next(page);

  await step(page, "Options");
  await page.getByLabel("Copies at a time").fill("999");
  await page.getByLabel("At most").fill(settings.limit);
  await next(page);
  await step(page, "Review");

  // What only the server knows to be wrong is said at the field as well.
  await page.getByRole("button", { name: "Create migration" }).click();
  await page.getByText("Where to look").waitFor();
  await page.getByRole("main").getByRole("link", { name: "Options", exact: true }).last().click();
  await step(page, "Options");
  await page.getByLabel("Copies at a time").and(page.locator("[aria-invalid=true]")).waitFor();
  await page.getByLabel("Copies at a time").fill("2");
  await next(page);
  await step(page, "Review");
  await page.getByRole("button", { name: "Create migration" }).click();
  await page.getByRole("heading", { name: settings.name, level: 1 }).waitFor();
}

async function endpoint(page, { host, port, user, password }) {
  await page.getByLabel("Host").fill(host);
  await page.getByLabel("Port").fill(String(port));
  await page.getByLabel("User").fill(user);
  await page.getByLabel("Password").fill(password);
}

const state = (page) => page.locator(".page-title .badge");

async function watch(page, settings) {
  const shown = new Set();
  const deadline = Date.now() + settings.patience;
  let drawn = false;
  for (;;) {
    const text = `${await state(page).textContent()} ${await page.locator(".page-title .sub").first().textContent()}`;
    shown.add(text.trim());
    if (/Copying/.test(text) && !drawn) {
      // In the middle of it: the bars move, and the charts have something to show.
      await page.waitForFunction(() => Number(document.querySelector(".overview [role=progressbar]").ariaValueNow) >= 20, null, { timeout: settings.patience });
      await page.locator(".chart-line").first().waitFor();
      await page.goto(`${settings.url}#/migrations`);
      await page.getByRole("link", { name: settings.name }).waitFor();
      await page.locator("tbody [role=progressbar]").first().waitFor();
      await page.goBack();
      await state(page).waitFor();
      drawn = true;
    }
    if (/^(Succeeded|Failed|Validation failed|Canceled)/.test(text)) {
      check(/^Succeeded/.test(text), `it ended as ${text}`);
      break;
    }
    check(Date.now() < deadline, `it is still at ${text}`);
    await page.waitForTimeout(100);
  }
  check(drawn, `copying was never seen: ${[...shown].join(", ")}`);
  const done = await page.locator(".overview [role=progressbar]").getAttribute("aria-valuenow");
  check(done === "100", `it has succeeded at ${done} %`);
  await page.getByText("verified", { exact: true }).waitFor();
}

const tab = async (page, name) => {
  await page.getByRole("tab", { name }).click();
  await page.getByRole("tab", { name, selected: true }).waitFor();
};

async function parts(page, settings) {
  await tab(page, "Tables");
  for (const [database, tables] of Object.entries(settings.tables)) {
    await page.getByLabel("Database", { exact: true }).selectOption(database);
    for (const [name, rows] of Object.entries(tables)) {
      await page.getByLabel("Filter tables by name").fill(name.split(".").pop());
      const row = page.getByRole("row").filter({ has: page.getByRole("rowheader", { name, exact: true }) });
      await row.getByText("Completed").waitFor();
      const cell = await row.getByRole("cell").nth(2).textContent();
      check(cell.replaceAll(",", "") === rows, `${name} has ${rows} rows, and the page says ${cell}`);
    }
    check((await page.locator("main img").count()) === 0, "a name became a picture");
    await page.getByLabel("Filter tables by name").fill("");
  }
  await tab(page, /^Validation/);
  await page.getByRole("heading", { name: "Servers and connections" }).waitFor();
  for (const database of settings.databases) {
    await page.getByRole("heading", { name: `Database ${database}` }).waitFor();
  }
  await page.locator(".findings > details").first().waitFor();
  await printed(page, settings);
  await tab(page, "Events");
  await page.locator(".events tbody tr").first().waitFor();
  await tab(page, "Logs");
  await page.locator(".log, .empty").first().waitFor();
  await tab(page, "Report");
  await page.getByRole("button", { name: "Save", exact: true }).waitFor();
  await tab(page, "Settings");
  await page.getByText("Migration id").waitFor();
  const text = await page.locator("main").innerText();
  check(!text.includes(settings.source.password), "the password is shown");
}

/** What the checks found, as a page of its own. */
async function printed(page, settings) {
  const opened = page.waitForEvent("popup");
  await page.getByRole("link", { name: "Report as a page (HTML)" }).click();
  const printout = await opened;
  await printout.getByRole("heading", { name: `Validation of ${settings.name}`, level: 1 }).waitFor();
  const text = await printout.locator("body").innerText();
  for (const word of [...settings.databases, "603000"]) {
    check(text.includes(word), `${word} is not on the page:\n${text}`);
  }
  check((await printout.locator("img").count()) === 0, "a name became a picture");
  check(!text.includes(settings.source.password), "the password is shown");
  await printout.close();
}

async function others(page, settings) {
  for (const name of ["Agents", "Sizing", "Decommission", "Audit log"]) {
    await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name }).click();
    await page.getByRole("heading", { name, level: 1 }).waitFor();
    await page.locator("main .loading:visible").waitFor({ state: "detached" });
    const wrong = await page.locator("main .callout.tone-bad").allTextContents();
    check(wrong.length === 0, `${name}: ${wrong}`);
  }
  await page.getByRole("radio", { name: "Dark" }).check({ force: true });
  const dark = await page.evaluate(() => getComputedStyle(document.body).colorScheme);
  check(dark === "dark", `the switch chose ${dark}`);
  await page.reload();
  await page.getByRole("heading", { level: 1 }).waitFor();
  check((await page.evaluate(() => document.documentElement.dataset.theme)) === "dark", "the choice is forgotten");
  await page.getByRole("radio", { name: "System" }).check({ force: true });
}

/** Nothing is wider than a small screen. */
async function narrow(page, settings) {
  await page.setViewportSize({ width: 768, height: 1024 });
  for (const path of ["migrations", `migrations/${settings.name}`, "new/source", "sizing"]) {
    await page.goto(`${settings.url}#/${path}`);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await noWider(page, path);
  }
}

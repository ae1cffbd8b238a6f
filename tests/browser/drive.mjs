// Runs one case in a browser: node drive.mjs CASE, with the settings as JSON on standard input.

import { readFileSync } from "node:fs";
import { wizard } from "./wizard.mjs";
import { keyboard } from "./keyboard.mjs";
import { away } from "./away.mjs";
import { pictures } from "./pictures.mjs";
import { roles } from "./roles.mjs";

const CASES = { wizard, keyboard, away, pictures, roles };

const settings = JSON.parse(readFileSync(0, "utf8"));
try {
  await CASES[process.argv[2]](settings);
} catch (error) {
  console.error(error.stack);
  process.exitCode = 1;
}

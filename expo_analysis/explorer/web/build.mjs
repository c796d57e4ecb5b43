/** Bundles the page: explorer.js (with the solver), engine.js (the solver alone, for tests), explorer.css, page.html. */

import { build } from "esbuild";
import { copyFile } from "node:fs/promises";

const out = new URL("../built/", import.meta.url).pathname;
const common = { bundle: true, minify: true, target: "es2022", charset: "utf8", legalComments: "none", logLevel: "warning" };

await build({ ...common, entryPoints: ["src/main.ts"], format: "iife", outfile: `${out}explorer.js` });
await build({ ...common, entryPoints: ["src/engine.ts"], format: "iife", globalName: "engine", outfile: `${out}engine.js` });
await build({ ...common, entryPoints: ["src/style.css"], outfile: `${out}explorer.css` });
await copyFile("src/page.html", `${out}page.html`);

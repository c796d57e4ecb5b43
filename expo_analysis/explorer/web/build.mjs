/** Bundles the page: explorer.js (with the solver), engine.js (the solver alone, for tests), explorer.css, page.html. */

import { createHash } from "node:crypto";
import { copyFile, readdir, readFile, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const here = new URL("./", import.meta.url).pathname;
const out = process.argv[2] ?? new URL("../built/", import.meta.url).pathname;
const common = { bundle: true, minify: true, target: "es2022", charset: "utf8", legalComments: "none", logLevel: "warning", absWorkingDir: here };

await build({ ...common, entryPoints: ["src/main.ts"], format: "iife", outfile: `${out}/explorer.js` });
await build({ ...common, entryPoints: ["src/engine.ts"], format: "iife", globalName: "engine", outfile: `${out}/engine.js` });
await build({ ...common, entryPoints: ["src/style.css"], outfile: `${out}/explorer.css` });
await copyFile(`${here}src/page.html`, `${out}/page.html`);

// of what the files were built, for a test that needs no node
const sources = {};
for (const name of (await readdir(`${here}src`)).sort()) {
  sources[name] = createHash("sha256").update(await readFile(`${here}src/${name}`)).digest("hex");
}
await writeFile(`${out}/sources.json`, `${JSON.stringify(sources, null, 1)}\n`);

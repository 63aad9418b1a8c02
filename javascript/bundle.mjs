/** Makes the module for browsers of what `src/browser.ts` needs: `dist/panpipe.js`, and its types in `dist/browser`. */

import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { build } from "esbuild";

await build({
  entryPoints: ["src/browser.ts"],
  outfile: "dist/panpipe.js",
  bundle: true,
  minify: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  sourcemap: true,
  legalComments: "none",
  alias: { "#runtime": "./src/runtime/browser.ts" },
  banner: { js: "/* panpipe for browsers. Licence: MIT OR Apache-2.0 */" },
});

// Whoever reads the types has no Node, and need not know of conditions.
for (const file of await readdir("dist/browser", { recursive: true })) {
  if (!file.endsWith(".d.ts")) continue;
  const path = join("dist/browser", file);
  const up = "../".repeat(file.split("/").length - 1) || "./";
  const text = await readFile(path, "utf8");
  await writeFile(path, text.replaceAll('"#runtime"', `"${up}runtime/browser.js"`));
}

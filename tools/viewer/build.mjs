// Bundles viewer.js and three.js into the package: one file, no imports, with the licence text beside it.
import { build } from "esbuild";
import { copyFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "../../src/hmralign/reports/viewer");

const result = await build({
  entryPoints: [join(here, "viewer.js")],
  outfile: join(out, "viewer.min.js"),
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2020",
  charset: "ascii",
  legalComments: "none",
  banner: { js: "/* hmralign report viewer; contains three.js, MIT licence, see three.LICENSE.txt */" },
  metafile: true,
});
await copyFile(join(here, "node_modules/three/LICENSE"), join(out, "three.LICENSE.txt"));
for (const [file, { bytes }] of Object.entries(result.metafile.outputs)) console.log(`${file}: ${bytes} bytes`);

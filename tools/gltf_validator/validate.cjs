// Prints the report of Khronos' glTF validator about a file as JSON. Exit code 3: the validator is not installed.
const { readFileSync } = require("node:fs");

let validator;
try {
  validator = require("gltf-validator");
} catch (error) {
  if (error.code !== "MODULE_NOT_FOUND") throw error;
  process.exit(3);
}
validator
  .validateBytes(new Uint8Array(readFileSync(process.argv[2])))
  .then((report) => console.log(JSON.stringify(report)));

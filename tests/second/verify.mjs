// Verifies evidence files, from the format's page alone:
//   node verify.mjs FILE --trust HEX      prints the statement, or an error and exits 1
//   node verify.mjs --batch --trust HEX   one file in hexadecimal a line of input; one statement or refusal a line.
//                                         A second word on a line is the genesis hash to trust for that file.

import { readFileSync } from "node:fs";

import { verifyEvidence } from "./evidence.mjs";
import { canonicalJson } from "./json.mjs";
import { Refusal, demand } from "./refusal.mjs";

const USAGE = "usage: verify.mjs (FILE | --batch) --trust HEX";
const STDIN = 0;

function readArguments(words) {
  const rest = [...words];
  const flag = rest.indexOf("--trust");
  demand(flag >= 0, USAGE);
  const [, trust] = rest.splice(flag, 2);
  demand(rest.length === 1 && trust !== undefined, USAGE);
  return { source: rest[0], trusted: readTrust(trust) };
}

function readTrust(words) {
  const trusted = fromHex(words.trim());
  demand(trusted.length === 32, "the trusted hash is not 64 hexadecimal digits");
  return trusted;
}

function fromHex(digits) {
  const bytes = Buffer.from(digits, "hex"); // stops quietly at what is no digit
  demand(bytes.length * 2 === digits.length, "not hexadecimal digits");
  return bytes;
}

function batchLine(line, trusted) {
  try {
    const [file, trust] = line.split(" ");
    return canonicalJson(verifyEvidence(fromHex(file), trust === undefined ? trusted : readTrust(trust)));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return `refused: ${error.message}`;
  }
}

function runBatch(trusted) {
  const input = readFileSync(STDIN, "latin1");
  const lines = input.replace(/\n$/, "").split("\n");
  process.stdout.write(lines.map((line) => `${batchLine(line, trusted)}\n`).join(""));
}

function readFile(path) {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new Refusal(`cannot read ${path}: ${error.code}`);
  }
}

function main(words) {
  try {
    const { source, trusted } = readArguments(words);
    if (source === "--batch") runBatch(trusted);
    else console.log(canonicalJson(verifyEvidence(readFile(source), trusted)));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}

main(process.argv.slice(2));

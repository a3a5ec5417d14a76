// The seal of engine 2 (section 9): CometBFT headers and commits, and the validator sets that lead to the last one.

import { verifyEd25519 } from "./ed25519.mjs";
import { parse } from "./fields.mjs";
import { sha256 } from "./hashes.mjs";
import { CometSeal } from "./records.mjs";
import { demand } from "./refusal.mjs";
import { logRoot } from "./trees.mjs";

const VARINT = 0, FIXED64 = 1, BYTES = 2; // protobuf's wire types
const PRECOMMIT = 2n;

/** What the seal says once it holds: final height, time, application hash and the seal's hash. */
export function openCometSeal(data, genesis, genesisHash) {
  const seal = parse(CometSeal, data, "comet seal");
  const chainId = `tocsin-${genesisHash.toString("hex").slice(0, 40)}`;
  let validators = [...genesis.validators].sort(byPowerThenAddress);
  let height = 0n;
  for (const { header, commit, validators: next } of seal.steps) {
    demandCommitted(header, commit, validators, chainId, height);
    demandSuccessor(header, validators, next);
    validators = next;
    height = header.height;
  }
  demandCommitted(seal.header, seal.commit, validators, chainId, height);
  return {
    height: seal.header.height - 1n, // a header carries the application hash of the block before it
    time: seal.header.seconds * 1000n + seal.header.nanos / 1_000_000n,
    appHash: seal.header.app_hash,
    sealHash: headerHash(seal.header),
  };
}

function demandCommitted(header, commit, validators, chainId, above) {
  demand(header.chain_id === chainId, "a consensus header is of another chain");
  demand(header.height > above, "a consensus header is not above the one before");
  demand(header.validators.equals(setHash(validators)), "a consensus header is of another validator set");
  demandCommit(header, commit, validators);
}

function demandSuccessor(header, current, next) {
  demand(new Set(next.map(({ key }) => key.toString("hex"))).size === next.length, "a key stands twice in a set");
  for (let index = 1; index < next.length; index += 1) {
    demand(byPowerThenAddress(next[index - 1], next[index]) <= 0, "a validator set is out of order");
  }
  const hash = setHash(next);
  demand(header.next_validators.equals(hash), "a consensus header names another next validator set");
  demand(!hash.equals(setHash(current)), "a step changes nothing in the validator set");
}

function demandCommit(header, commit, validators) {
  const hash = headerHash(header);
  let power = 0n;
  let last = -1n;
  for (const precommit of commit.precommits) {
    demand(precommit.validator > last, "precommits are not by rising index");
    demand(precommit.validator < BigInt(validators.length), "a precommit is of no validator");
    last = precommit.validator;
    const validator = validators[Number(last)];
    const message = signBytes(header, hash, commit, precommit);
    demand(verifyEd25519(validator.key, message, precommit.signature), "a precommit's signature does not verify");
    power += validator.power;
  }
  const total = validators.reduce((sum, validator) => sum + validator.power, 0n);
  demand(power * 3n > total * 2n, "a commit has not more than two thirds of the power");
}

function byPowerThenAddress(one, other) {
  if (one.power !== other.power) return one.power > other.power ? -1 : 1;
  return Buffer.compare(address(one), address(other));
}

function address(validator) {
  return sha256(validator.key).subarray(0, 20);
}

function setHash(validators) {
  return logRoot(validators.map(({ key, power }) => message(nested(1, bytes(1, key)), varint(2, power))));
}

function headerHash(header) {
  return logRoot([
    message(varint(1, header.block_version), varint(2, header.app_version)),
    bytes(1, Buffer.from(header.chain_id, "utf8")),
    varint(1, header.height),
    timestamp(header),
    blockId(header.last_hash, header.last_parts, header.last_parts_hash),
    bytes(1, header.last_commit),
    bytes(1, header.data),
    bytes(1, header.validators),
    bytes(1, header.next_validators),
    bytes(1, header.consensus),
    bytes(1, header.app_hash),
    bytes(1, header.last_results),
    bytes(1, header.evidence),
    bytes(1, header.proposer),
  ]);
}

/** What a validator signs: CometBFT's canonical vote behind its own length. */
function signBytes(header, hash, commit, precommit) {
  const vote = message(
    varint(1, PRECOMMIT),
    fixed64(2, header.height),
    fixed64(3, commit.round),
    nested(4, blockId(hash, commit.parts, commit.parts_hash)),
    nested(5, timestamp(precommit)),
    bytes(6, Buffer.from(header.chain_id, "utf8")),
  );
  return Buffer.concat([number(BigInt(vote.length)), vote]);
}

function blockId(hash, parts, partsHash) {
  return message(bytes(1, hash), nested(2, varint(1, parts), bytes(2, partsHash)));
}

function timestamp({ seconds, nanos }) {
  return message(varint(1, seconds), varint(2, nanos));
}

// Protobuf: zero numbers and empty byte strings are left out, nested messages never.

function message(...fields) {
  return Buffer.concat(fields);
}

function nested(field, ...fields) {
  return lengthPrefixed(field, message(...fields));
}

function bytes(field, value) {
  return value.length === 0 ? value : lengthPrefixed(field, value);
}

function varint(field, value) {
  return value === 0n ? Buffer.alloc(0) : Buffer.concat([tag(field, VARINT), number(value)]);
}

function fixed64(field, value) {
  if (value === 0n) return Buffer.alloc(0);
  const result = Buffer.alloc(8);
  result.writeBigInt64LE(value);
  return Buffer.concat([tag(field, FIXED64), result]);
}

function lengthPrefixed(field, value) {
  return Buffer.concat([tag(field, BYTES), number(BigInt(value.length)), value]);
}

function tag(field, wire) {
  return number(BigInt((field << 3) | wire));
}

/** A varint: seven bits a byte, the lowest first. */
function number(value) {
  const digits = [];
  let rest = value;
  for (; rest > 127n; rest >>= 7n) digits.push(Number(rest & 127n) | 128);
  digits.push(Number(rest));
  return Buffer.from(digits);
}

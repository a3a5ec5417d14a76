// The log tree (RFC 6962) and the key-sorted state tree of section 3.

import { DOMAIN, domainHash, sha256 } from "./hashes.mjs";
import { demand } from "./refusal.mjs";

const LEAF = Buffer.from([0]);
const NODE = Buffer.from([1]);
const EMPTY_SUBTREE = Buffer.alloc(32);

function logLeaf(data) {
  return sha256(LEAF, data);
}

function node(left, right) {
  return sha256(NODE, left, right);
}

/** The log root over a whole list. */
export function logRoot(leaves) {
  if (leaves.length === 0) return sha256();
  if (leaves.length === 1) return logLeaf(leaves[0]);
  let half = 1;
  while (half * 2 < leaves.length) half *= 2;
  return node(logRoot(leaves.slice(0, half)), logRoot(leaves.slice(half)));
}

/** Demands that data stands at an index of a log of that size and root. */
export function demandInLog(data, index, size, path, root, what) {
  demand(index < size, `${what} is beyond the end of its list`);
  let hash = logLeaf(data);
  let used = 0;
  // Upwards, at each level: place among the level's nodes, and the level's last place. A last node without a
  // partner rises as it is and uses up nothing of the path.
  for (let place = index, last = size - 1n; last > 0n; place >>= 1n, last >>= 1n) {
    const isRight = (place & 1n) === 1n;
    if (!isRight && place === last) continue;
    demand(used < path.length, `the path of ${what} is too short`);
    hash = isRight ? node(path[used], hash) : node(hash, path[used]);
    used += 1;
  }
  demand(used === path.length, `the path of ${what} is too long`);
  demand(hash.equals(root), `${what} is not under its root`);
}

/** Whether an entry shows its key to be present under a state of that root; else it must show it absent. */
export function openEntry({ value, proof }, key, root) {
  if (value.length === 0) demandAbsent(key, proof, root);
  else demandPresent(key, value, proof, root);
  return value.length > 0;
}

/** Demands that a state of that root has this value at a key. */
export function demandPresent(key, value, proof, root) {
  demand(proof.path.equals(statePath(key)), "a proof of presence is of another key");
  demand(proof.value_hash.equals(sha256(value)), "a proof of presence is of another value");
  demandStateRoot(proof, proof.path, root);
}

/** Demands that a state of that root has nothing at a key. */
export function demandAbsent(key, proof, root) {
  const path = statePath(key);
  demand(proof.path.length === proof.value_hash.length, "a proof of absence has half an entry");
  if (proof.path.length > 0) {
    demand(proof.path.length === 32, "a proof of absence has a path of a wrong length");
    demand(!proof.path.equals(path), "a proof of absence is of the key itself");
    demand(sharesBits(proof.path, path, proof.siblings.length), "a proof of absence is of another subtree");
  }
  demandStateRoot(proof, path, root);
}

function statePath(key) {
  return domainHash(DOMAIN.stateKey, key);
}

function demandStateRoot(proof, path, root) {
  let hash = proof.path.length === 0 ? EMPTY_SUBTREE : sha256(LEAF, proof.path, proof.value_hash);
  for (let depth = proof.siblings.length - 1; depth >= 0; depth -= 1) {
    const sibling = proof.siblings[depth];
    hash = bit(path, depth) === 0 ? node(hash, sibling) : node(sibling, hash);
  }
  demand(hash.equals(root), "a state proof does not lead to the state root");
}

function sharesBits(one, other, count) {
  for (let depth = 0; depth < count; depth += 1) {
    if (bit(one, depth) !== bit(other, depth)) return false;
  }
  return true;
}

function bit(path, depth) {
  return (path[depth >> 3] >> (7 - (depth & 7))) & 1;
}

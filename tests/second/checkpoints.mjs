// Checkpoints, their seals, and proofs that a leaf is in the log under one (section 9).

import { openCometSeal } from "./comet.mjs";
import { encode } from "./cbor.mjs";
import { bytesOf, parse } from "./fields.mjs";
import { DOMAIN, domainHash } from "./hashes.mjs";
import { EmbeddedSeal, Signed } from "./records.mjs";
import { demand } from "./refusal.mjs";
import { openSigned } from "./signatures.mjs";
import { demandInLog } from "./trees.mjs";

/** Check 12 for one checkpoint. Gives final height, time and hash of its seal, and the log's size. */
export function openCheckpoint(chain, { app, seal }) {
  const word = openSeal(chain, seal);
  demand(word.appHash.equals(domainHash(DOMAIN.app, bytesOf(app))), "a seal is of another application hash");
  return { ...word, logSize: app.log_size };
}

/** Check 12 for opened checkpoints together: time and log never shrink as heights rise, a height has one seal. */
export function demandOneHistory(checkpoints) {
  for (const one of checkpoints) {
    for (const other of checkpoints) {
      if (one.height === other.height) {
        demand(one.sealHash.equals(other.sealHash), "two seals of one final height");
      } else if (one.height < other.height) {
        demand(one.time <= other.time, "a later checkpoint has an earlier time");
        demand(one.logSize <= other.logSize, "a later checkpoint has a smaller log");
      }
    }
  }
}

/** A log leaf's acceptance: the opened checkpoint that it stands under. */
export function openFinality(chain, finality, [kind, gateway, epoch, height, hash]) {
  const { index, path, checkpoint } = finality;
  const leaf = encode([kind, gateway, epoch, height, hash]);
  demandInLog(leaf, index, checkpoint.app.log_size, path, checkpoint.app.log_root, "the log leaf");
  return openCheckpoint(chain, checkpoint);
}

function openSeal(chain, { engine, data }) {
  demand(engine === chain.genesis.engine, "a seal is of another engine than the genesis");
  return engine === 1n ? openEmbeddedSeal(chain, data) : openCometSeal(data, chain.genesis, chain.hash);
}

function openEmbeddedSeal(chain, data) {
  const [hub] = chain.genesis.hubs;
  const body = openSigned(DOMAIN.seal, hub.key, parse(Signed, data, "seal"));
  const seal = parse(EmbeddedSeal, body, "embedded seal");
  demand(seal.genesis.equals(chain.hash), "a seal is of another chain");
  return { height: seal.height, time: seal.time, appHash: seal.app_hash, sealHash: domainHash(DOMAIN.seal, body) };
}

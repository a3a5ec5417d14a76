// The genesis and the trust in it (section 4, check 1).

import { bytesOf } from "./fields.mjs";
import { DOMAIN, domainHash } from "./hashes.mjs";
import { demand } from "./refusal.mjs";
import { demandSuite } from "./signatures.mjs";

const REGULATOR = 1n;

/** The chain of a genesis, once it is the trusted one. */
export function openGenesis(genesis, trusted) {
  const hash = domainHash(DOMAIN.genesis, bytesOf(genesis));
  demand(hash.equals(trusted), "the evidence is of another chain than the trusted one");
  demandSuite(genesis.suite);
  demandEngine(genesis);
  demandPeople(genesis);
  return { hash, genesis };
}

/** Whether words given under a genesis of that hash count in this chain: its own, or of one that it takes over. */
export function demandWord({ hash, genesis }, given, what) {
  const counts = given.equals(hash) || genesis.takeovers.some((takeover) => takeover.genesis.equals(given));
  demand(counts, `${what} is of another chain`);
}

function demandPeople({ authorities, hubs, validators, custodians, takeovers }) {
  for (const holders of [authorities, hubs, validators]) demandDistinct(holders.map(({ key }) => key.toString("hex")));
  demandDistinct(takeovers.map((takeover) => takeover.genesis.toString("hex")));
  for (const holders of [authorities, hubs]) demandDistinct(holders.map(({ name }) => name));
  demand(authorities.some(({ role }) => role === REGULATOR), "no authority is the regulator");
  const agencies = new Set(hubs.map(({ agency }) => agency));
  demand(custodians <= BigInt(agencies.size), "more custodians than agencies with a hub");
}

function demandEngine({ engine, hubs, validators }) {
  if (engine === 1n) {
    demand(hubs.length === 1 && validators.length === 0, "engine 1 has one hub and no validators");
  } else {
    demand(validators.length > 0, "engine 2 has validators");
    demand(validators.length <= hubs.length, "engine 2 has a hub to each validator");
    demandDistinct([...hubs, ...validators].map(({ key }) => key.toString("hex")));
  }
}

function demandDistinct(values) {
  demand(new Set(values).size === values.length, "a key, a name or a chain stands twice in the genesis");
}

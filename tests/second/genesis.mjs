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

function demandPeople({ authorities, hubs, validators, custodians }) {
  for (const holders of [authorities, hubs, validators]) demandDistinct(holders.map(({ key }) => key.toString("hex")));
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
  }
}

function demandDistinct(values) {
  demand(new Set(values).size === values.length, "a key or a name stands twice in the genesis");
}

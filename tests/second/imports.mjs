// Gateways of a chain taken over (sections 8 and 11).

import { encode } from "./cbor.mjs";
import { bytesOf, parse } from "./fields.mjs";
import { DOMAIN, domainHash, sha256 } from "./hashes.mjs";
import { ContractsEntry, GatewayEntry, Import } from "./records.mjs";
import { demand } from "./refusal.mjs";
import { openEntry } from "./trees.mjs";

const GATEWAY = 1n, CONTRACTS = 5n; // the first entry of their state keys

/** The chain that the gateway came from, and its entry there, once it is shown that it brought the key. */
export function openImport(chain, bytes, { gateway, key, first, record }) {
  const { takeover, app, ...shown } = parse(Import, bytes, "import");
  demand(shown.gateway.equals(gateway), "the import is of another gateway");
  const identity = domainHash(DOMAIN.transfer, encode([takeover, gateway]));
  demand(identity.equals(record), "the import is not the key entry's");
  const taken = chain.genesis.takeovers.find(({ genesis }) => genesis.equals(takeover));
  demand(taken !== undefined, "the import is of no chain that this one takes over");
  demand(domainHash(DOMAIN.app, bytesOf(app)).equals(taken.app_hash), "the import is from another state");
  demand(openEntry(shown.entry, encode([GATEWAY, gateway]), app.state_root), "the gateway was never enrolled");
  if (openEntry(shown.contracts, encode([CONTRACTS, gateway]), app.state_root)) {
    parse(ContractsEntry, shown.contracts.value, "contracts entry");
  }
  const old = parse(GatewayEntry, shown.entry.value, "gateway entry");
  demand(sha256(old.keys[0].key).subarray(0, 16).equals(gateway), "the gateway's id is not of its first key");
  const brought = old.keys.some((span) => span.key.equals(key) && span.first === first);
  demand(brought, "the gateway did not bring this key");
  return { takeover, old };
}

// The roster under a state: who had a say, and under what names (sections 8 and 11).

import { encode } from "./cbor.mjs";
import { parse } from "./fields.mjs";
import { Roster } from "./records.mjs";
import { demand } from "./refusal.mjs";
import { openEntry } from "./trees.mjs";

const ROSTER = 6n;
const STANDINGS = [0n, 11n, 12n];

export function openRoster(entry, root) {
  demand(openEntry(entry, encode([ROSTER]), root), "a roster that the state does not have");
  const roster = parse(Roster, entry.value, "roster");
  for (const { validator, power, standing } of roster.members) {
    demand(validator.length === 0 || validator.length === 32, "a validator key of a wrong length");
    demand(power === 0n || validator.length === 32, "a vote without a validator key");
    demand(STANDINGS.includes(standing), "no standing of a member");
  }
  return roster;
}

// The alarm's part of the evidence: check 7 of section 11.

import { openFinality } from "./checkpoints.mjs";
import { demandWord } from "./genesis.mjs";
import { DOMAIN, domainHash } from "./hashes.mjs";
import { openTransition } from "./leaves.mjs";
import { demand } from "./refusal.mjs";
import { demandSignature } from "./signatures.mjs";

export function openAlarm(chain, { alarm, document, finality }, key) {
  const recorded = alarm.mark === 0n;
  const domain = recorded ? DOMAIN.alarm : DOMAIN.unrecorded;
  demandSignature(domain, key, alarm.suite, alarm.transition, alarm.signature);
  const { transition, hash } = openTransition(alarm.transition);
  demandWord(chain, transition.genesis, "the alarm");
  const hasDocument = document.length > 0;
  if (hasDocument) {
    const own = domainHash(DOMAIN.contract, document).equals(transition.contract_hash);
    demand(own, "the document is of another contract than the alarm's");
  }
  const accepted = openFinality(chain, finality, [2n, transition.gateway, 0n, alarm.mark, hash]);
  return { transition, hash, recorded, hasDocument, accepted };
}

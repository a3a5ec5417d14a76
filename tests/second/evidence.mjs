// An evidence file as a whole: from its bytes and a trusted genesis hash to the statement it proves (section 11).

import { openAlarm } from "./alarm.mjs";
import { openBlock } from "./block.mjs";
import { demandOneHistory } from "./checkpoints.mjs";
import { parse } from "./fields.mjs";
import { openGenesis } from "./genesis.mjs";
import { Evidence } from "./records.mjs";
import { demand } from "./refusal.mjs";
import { demandInForce, openStanding } from "./standing.mjs";

const MOST_BYTES = 524_288;

export function verifyEvidence(file, trusted) {
  demand(file.length <= MOST_BYTES, `the file has more than ${MOST_BYTES} bytes`);
  const evidence = parse(Evidence, file, "evidence");
  demand(evidence.block !== null || evidence.alarm !== null, "neither a block nor an alarm");
  const chain = openGenesis(evidence.genesis, trusted);
  const { key } = evidence.standing;
  const block = evidence.block && openBlock(chain, evidence.block, key);
  const alarm = evidence.alarm && openAlarm(chain, evidence.alarm, key);
  const gateway = block ? block.header.gateway : alarm.transition.gateway;
  if (block && alarm) demandSameTransition(block, alarm);
  const standing = openStanding(chain, evidence.standing, gateway);
  const acceptances = [block?.accepted, alarm?.accepted].filter(Boolean);
  for (const { height } of acceptances) {
    demand(height <= standing.asOf.height, "the standing is older than an acceptance");
  }
  demandOneHistory([standing.asOf, ...acceptances, block?.seen].filter(Boolean));
  if (block) demandInForce(block, standing);
  return {
    genesis: hex(chain.hash),
    gateway: hex(gateway),
    enrolled: standing.enrolled,
    imported: standing.imported && importStatement(standing.imported),
    end: standing.end && [standing.end.kind, standing.end.last.epoch, standing.end.last.height],
    as_of: moment(standing.asOf),
    block: block && blockStatement(block),
    alarm: alarm && alarmStatement(alarm),
  };
}

/** Of one gateway, too: a block's transition is of the block's own. */
function demandSameTransition(block, alarm) {
  demand(block.leaf.transition !== undefined, "an alarm beside a block's leaf that is no transition");
  demand(block.leaf.hash.equals(alarm.hash), "the block's leaf is another transition than the alarm's");
}

function blockStatement({ header, leaf, series, contracts, accepted, seen }) {
  const { reading } = leaf;
  return {
    epoch: header.epoch,
    height: header.height,
    series: series && [series.name, series.quantity, series.unit, series.scale],
    kept: series && [series.dead_band, series.longest, series.period, series.ring],
    time: leaf.offset === null ? null : header.wall + leaf.offset,
    value: reading ? reading.value : null,
    event: leaf.event ? hex(leaf.event) : null,
    transition: leaf.transition ? hex(leaf.hash) : null,
    contracts: contracts.map(hex),
    accepted: moment(accepted),
    seen: seen && moment(seen),
  };
}

function importStatement({ takeover, old }) {
  return { chain: hex(takeover), region: old.region, head: [old.head.epoch, old.head.height] };
}

function alarmStatement({ transition, recorded, hasDocument, accepted }) {
  return {
    genesis: hex(transition.genesis),
    contract: transition.contract,
    contract_hash: hex(transition.contract_hash),
    before: transition.before,
    after: transition.after,
    faults: transition.faults,
    values: transition.values.map(({ alias, value }) => [alias, value]),
    time: transition.wall,
    recorded,
    document: hasDocument,
    accepted: moment(accepted),
  };
}

function moment({ height, time }) {
  return [height, time];
}

function hex(bytes) {
  return bytes.toString("hex");
}

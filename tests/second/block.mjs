// The block's part of the evidence: checks 2 to 6 of section 11.

import { openCheckpoint, openFinality } from "./checkpoints.mjs";
import { bytesOf, parse } from "./fields.mjs";
import { demandWord } from "./genesis.mjs";
import { DOMAIN, domainHash } from "./hashes.mjs";
import { openLeaf } from "./leaves.mjs";
import { Header } from "./records.mjs";
import { demand } from "./refusal.mjs";
import { openSigned } from "./signatures.mjs";
import { demandInLog } from "./trees.mjs";

const MOST_HEADER_BYTES = 2048;
const SALT_BYTES = 16;
const PUBLIC = 0n;
const LAST_MOMENT = BigInt(Number.MAX_SAFE_INTEGER);
const NONE = Buffer.alloc(32);

export function openBlock(chain, part, key) {
  const body = openSigned(DOMAIN.block, key, part.header);
  const header = openHeader(chain, body);
  const leaf = openLeafPart(header, part.leaf);
  demandSeries(header, leaf, part.series);
  const contracts = openContracts(header, part.contracts);
  if (leaf.transition) demandOwnTransition(chain, header, leaf.transition, contracts);
  const hash = domainHash(DOMAIN.block, body);
  const { gateway, epoch, height } = header;
  const accepted = openFinality(chain, part.finality, [1n, gateway, epoch, height, hash]);
  const seen = openSeen(chain, header, part, accepted);
  return { header, hash, leaf, series: part.series?.series ?? null, contracts, accepted, seen };
}

function openHeader(chain, body) {
  demand(body.length <= MOST_HEADER_BYTES, `a header has more than ${MOST_HEADER_BYTES} bytes`);
  const header = parse(Header, body, "header");
  demand(header.genesis.equals(chain.hash), "the header is of another chain");
  demand(header.previous.equals(NONE) === (header.height === 1n), "only the first header has none before it");
  demand(header.seen.height > 0n || isNothing(header.seen), "a header has seen half a seal");
  demand(header.wall + header.span <= LAST_MOMENT && header.mono + header.span <= LAST_MOMENT, "a block never ends");
  header.segments.forEach((segment, index) => {
    demand(segment.klass !== PUBLIC || segment.key_id === 0n, "the public segment is not clear");
    demand(index === 0 || segment.klass > header.segments[index - 1].klass, "segments are not by rising class");
  });
  return header;
}

function isNothing({ height, log_size: logSize, seal_hash: sealHash }) {
  return height === 0n && logSize === 0n && sealHash.equals(NONE);
}

function openLeafPart(header, { segment: place, index, leaf, salt, path }) {
  const segment = header.segments[Number(place)];
  demand(segment !== undefined, "the header has no such segment");
  demand(salt.length === (segment.klass === PUBLIC ? 0 : SALT_BYTES), "a salt of a wrong length");
  demandInLog(Buffer.concat([salt, leaf]), index, segment.count, path, segment.root, "the leaf");
  const opened = openLeaf(leaf, segment.klass);
  demand(opened.offset === null || opened.offset <= header.span, "the leaf lies beyond the header's span");
  return { klass: segment.klass, ...opened };
}

function demandSeries(header, leaf, part) {
  demand((leaf.series !== null) === (part !== null), "the series is missing, or is there for nothing");
  if (part === null) return;
  const { series, path } = part;
  demand(series.longest > 0n || (series.dead_band === 0n && series.ring === 0n), "a series of two policies");
  demand(series.index === leaf.series, "the series is of another index than the leaf's");
  demand(series.klass === leaf.klass, "the series is of another class than the leaf's segment");
  demandInLog(bytesOf(series), series.index, header.catalogue.count, path, header.catalogue.root, "the series");
}

/** The hashes of the documents, in file order. */
function openContracts(header, parts) {
  const { count, root } = header.contracts;
  return parts.map(({ index, document, path }) => {
    demandInLog(document, index, count, path, root, "a contract");
    return domainHash(DOMAIN.contract, document);
  });
}

function demandOwnTransition(chain, header, { genesis, gateway, contract_hash: contract }, contracts) {
  demandWord(chain, genesis, "the transition");
  demand(gateway.equals(header.gateway), "the transition is another gateway's");
  demand(contracts.some((hash) => hash.equals(contract)), "the transition's contract is not among the documents");
}

function openSeen(chain, { seen }, { finality, seen: checkpoint }, accepted) {
  if (checkpoint === null) return null;
  const word = openCheckpoint(chain, checkpoint);
  demand(
    word.height === seen.height && word.logSize === seen.log_size && word.sealHash.equals(seen.seal_hash),
    "the header has seen another seal",
  );
  demand(
    word.height < accepted.height && word.time <= accepted.time && word.logSize <= finality.index,
    "the seal that the header has seen is not older than the header's acceptance",
  );
  return word;
}

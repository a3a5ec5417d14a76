// The key's beginning and end: checks 9 to 11 of section 11.

import { encode } from "./cbor.mjs";
import { openCheckpoint } from "./checkpoints.mjs";
import { parse } from "./fields.mjs";
import { DOMAIN, domainHash, sha256 } from "./hashes.mjs";
import { openImport } from "./imports.mjs";
import { Enrolment, EnrolmentBody, KeyEnd, KeyEntry, Ticket } from "./records.mjs";
import { demand } from "./refusal.mjs";
import { openRoster } from "./roster.mjs";
import { demandSignature, openSigned } from "./signatures.mjs";
import { demandPresent, openEntry } from "./trees.mjs";

const KEY_BEGIN = 2n, KEY_END = 3n; // the first entry of their state keys
const BY_ENROLMENT = 3n, BY_ROTATION = 5n, BY_IMPORT = 16n;
const NONE = Buffer.alloc(32);

export function openStanding(chain, standing, gateway) {
  const { key, checkpoint } = standing;
  const asOf = openCheckpoint(chain, checkpoint);
  const root = checkpoint.app.state_root;
  const begin = openBegin(standing.begin, gateway, key, root);
  const later = standing.roster === null ? [] : openRoster(standing.roster, root).authorities;
  const end = openEnd(standing.end, gateway, key, root);
  return { asOf, begin, end, ...openOrigin(chain, standing.origin, begin, later) };
}

/** How the key came to be the gateway's: one of the two is null, or both. */
function openOrigin(chain, bytes, begin, later) {
  if (begin.kind === BY_ENROLMENT) return { enrolled: openEnrolment(chain, bytes, begin, later), imported: null };
  if (begin.kind === BY_IMPORT) return { enrolled: null, imported: openImport(chain, bytes, begin) };
  demand(bytes.length === 0, "a rotated key has an origin beside it");
  return { enrolled: null, imported: null };
}

/** Check 11: the key was the gateway's at the block. */
export function demandInForce({ header, hash }, { begin, end }) {
  demand(header.height >= begin.first, "the block lies before the key's first");
  if (end === null) return;
  const { last } = end;
  demand(header.height <= last.height, "the block lies behind the key's last");
  if (header.height === last.height && !last.hash.equals(NONE)) {
    demand(header.epoch === last.epoch && hash.equals(last.hash), "the key's last block is another one");
  }
}

function openBegin({ value, proof }, gateway, key, root) {
  demandPresent(encode([KEY_BEGIN, gateway, key]), value, proof, root);
  const begin = parse(KeyEntry, value, "key entry");
  demand(begin.gateway.equals(gateway) && begin.key.equals(key), "the key entry is of another key");
  const enrolled = begin.kind === BY_ENROLMENT && begin.first === 1n;
  const known = enrolled || begin.kind === BY_ROTATION || begin.kind === BY_IMPORT;
  demand(known, "the key began by neither enrolment nor rotation nor import");
  return begin;
}

function openEnd(entry, gateway, key, root) {
  return openEntry(entry, encode([KEY_END, gateway, key]), root) ? parse(KeyEnd, entry.value, "key end") : null;
}

function openEnrolment(chain, bytes, { gateway, key, record }, later) {
  const { suite, body, by_ticket: byTicket, by_gateway: byGateway } = parse(Enrolment, bytes, "enrolment");
  demand(domainHash(DOMAIN.enrolment, body).equals(record), "the enrolment is not the key entry's");
  const enrolment = parse(EnrolmentBody, body, "enrolment");
  demand(enrolment.key.equals(key), "the enrolment is of another key");
  demand(sha256(key).subarray(0, 16).equals(gateway), "the gateway's id is not of its first key");
  const ticket = openTicket(chain, enrolment.ticket);
  demand(!ticket.key.equals(key), "the gateway's key is the ticket's");
  demandSignature(DOMAIN.enrolment, ticket.key, suite, body, byTicket);
  demandSignature(DOMAIN.enrolment, key, suite, body, byGateway);
  const founder = nameOf(chain.genesis.authorities, ticket.authority);
  const authority = founder ?? nameOf(later, ticket.authority) ?? `key ${ticket.authority.toString("hex")}`;
  return { name: enrolment.name, authority, founding: founder !== undefined, region: ticket.region };
}

function nameOf(authorities, key) {
  return authorities.find((one) => one.key.equals(key))?.name;
}

/** Signed by the key that it names; that this was an authority's then, consensus has checked. */
function openTicket(chain, signed) {
  const ticket = parse(Ticket, signed.body, "ticket");
  demand(ticket.genesis.equals(chain.hash), "the ticket is of another chain");
  openSigned(DOMAIN.ticket, ticket.authority, signed);
  return ticket;
}

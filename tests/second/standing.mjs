// The key's beginning and end: checks 9 to 11 of section 11.

import { encode } from "./cbor.mjs";
import { openCheckpoint } from "./checkpoints.mjs";
import { parse } from "./fields.mjs";
import { DOMAIN, domainHash, sha256 } from "./hashes.mjs";
import { Enrolment, EnrolmentBody, KeyEnd, KeyEntry, Ticket } from "./records.mjs";
import { demand } from "./refusal.mjs";
import { demandSignature, openSigned } from "./signatures.mjs";
import { demandAbsent, demandPresent } from "./trees.mjs";

const KEY_BEGIN = 2n, KEY_END = 3n; // the first entry of their state keys
const BY_ENROLMENT = 3n, BY_ROTATION = 5n;
const NONE = Buffer.alloc(32);

export function openStanding(chain, standing, gateway) {
  const { key, checkpoint } = standing;
  const asOf = openCheckpoint(chain, checkpoint);
  const root = checkpoint.app.state_root;
  const begin = openBegin(standing.begin, gateway, key, root);
  const enrolled = openEnrolment(chain, standing.enrolment, begin, gateway, key);
  const end = openEnd(standing.end, gateway, key, root);
  return { asOf, begin, enrolled, end };
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
  demand(enrolled || begin.kind === BY_ROTATION, "the key began by neither enrolment nor rotation");
  return begin;
}

function openEnd({ value, proof }, gateway, key, root) {
  const stateKey = encode([KEY_END, gateway, key]);
  if (value.length === 0) {
    demandAbsent(stateKey, proof, root);
    return null;
  }
  demandPresent(stateKey, value, proof, root);
  return parse(KeyEnd, value, "key end");
}

function openEnrolment(chain, bytes, begin, gateway, key) {
  if (begin.kind !== BY_ENROLMENT) {
    demand(bytes.length === 0, "an enrolment beside a key that did not begin with one");
    return null;
  }
  const { suite, body, by_ticket: byTicket, by_gateway: byGateway } = parse(Enrolment, bytes, "enrolment");
  demand(domainHash(DOMAIN.enrolment, body).equals(begin.record), "the enrolment is not the key entry's");
  const enrolment = parse(EnrolmentBody, body, "enrolment");
  demand(enrolment.key.equals(key), "the enrolment is of another key");
  demand(sha256(key).subarray(0, 16).equals(gateway), "the gateway's id is not of its first key");
  const { ticket, authority } = openTicket(chain, enrolment.ticket);
  demand(!ticket.key.equals(key), "the gateway's key is the ticket's");
  demandSignature(DOMAIN.enrolment, ticket.key, suite, body, byTicket);
  demandSignature(DOMAIN.enrolment, key, suite, body, byGateway);
  return { name: enrolment.name, authority: authority.name, region: ticket.region };
}

function openTicket(chain, signed) {
  const ticket = parse(Ticket, signed.body, "ticket");
  demand(ticket.genesis.equals(chain.hash), "the ticket is of another chain");
  const authority = chain.genesis.authorities.find((one) => one.key.equals(ticket.authority));
  demand(authority !== undefined, "the ticket is of no authority");
  openSigned(DOMAIN.ticket, authority.key, signed);
  return { ticket, authority };
}

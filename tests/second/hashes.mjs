// SHA-256, and the domains of section 2 that evidence needs.

import { createHash } from "node:crypto";

const ZERO = Buffer.from([0]);

export const DOMAIN = {
  genesis: "tocsin/genesis/v1",
  block: "tocsin/block/v1",
  alarm: "tocsin/alarm/v1",
  unrecorded: "tocsin/alarm-unrecorded/v1",
  contract: "tocsin/contract/v1",
  ticket: "tocsin/ticket/v1",
  enrolment: "tocsin/enrolment/v1",
  app: "tocsin/app/v1",
  seal: "tocsin/seal/v1",
  stateKey: "tocsin/state-key/v1",
  transfer: "tocsin/transfer/v1",
};

export function sha256(...parts) {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

export function domainHash(domain, data) {
  return sha256(domain, ZERO, data);
}

/** What a signature of a suite covers. */
export function signedBytes(domain, suite, body) {
  return Buffer.concat([Buffer.from(domain, "ascii"), ZERO, Buffer.from([suite]), body]);
}

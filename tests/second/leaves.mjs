// A leaf of a segment: a reading or an event (section 5).

import { decode, encode } from "./cbor.mjs";
import { parse } from "./fields.mjs";
import { DOMAIN, domainHash } from "./hashes.mjs";
import { Actuation, ClockStep, Earlier, Outcome, Reading, Refusal, Shedding, Status, Transition } from "./records.mjs";
import { demand } from "./refusal.mjs";

const PUBLIC = 0n;
const TRANSITION = 1n, STATUS = 2n, EARLIER = 8n;
const MOST_TRANSITION_BYTES = 4096;
const EVENTS = new Map([
  [STATUS, Status],
  [3n, openShedding],
  [4n, ClockStep],
  [5n, Outcome],
  [6n, Actuation],
  [7n, Refusal],
  [EARLIER, openEarlier],
]);

/**
 * One of `reading`, `event` (as encoded) and `transition` is there, and the index of the series it speaks of or null.
 * `offset` is null where the leaf tells none.
 */
export function openLeaf(bytes, klass) {
  const item = decode(bytes);
  demand(Array.isArray(item) && (item.length === 2 || item.length === 3), "a leaf is neither reading nor event");
  if (item.length === 3) return openReading(item);
  const [kind, body] = item;
  demand(kind === STATUS || kind === EARLIER || klass === PUBLIC, "an event stands outside of the public segment");
  return kind === TRANSITION ? openTransitionLeaf(body) : openEvent(kind, body);
}

/** A transition with its identity. */
export function openTransition(bytes) {
  const transition = parse(Transition, bytes, "transition");
  demandSorted(transition.faults.map((fault) => Buffer.from(fault, "utf8")));
  return { transition, hash: domainHash(DOMAIN.alarm, bytes) };
}

function openReading(item) {
  const reading = Reading(item, "reading");
  return { series: reading.series, offset: reading.offset, reading };
}

function demandSorted(faults) {
  faults.slice(1).forEach((fault, index) => {
    demand(Buffer.compare(faults[index], fault) < 0, "a transition's faults are not sorted, each once");
  });
}

function openTransitionLeaf(body) {
  demand(Buffer.isBuffer(body) && body.length <= MOST_TRANSITION_BYTES, "a transition's leaf holds no transition");
  return { series: null, offset: null, ...openTransition(body) };
}

function openShedding(item, where) {
  const shedding = Shedding(item, where);
  demand(shedding.first <= shedding.last, "a shedding ends before it begins");
  return shedding;
}

function openEarlier(item, where) {
  const earlier = Earlier(item, where);
  earlier.values.slice(1).forEach(({ back }, index) => {
    demand(back <= earlier.values[index].back, "earlier values are not in the order of taking");
  });
  return earlier;
}

function openEvent(kind, body) {
  demand(EVENTS.has(kind), "an event is of no known kind");
  const event = EVENTS.get(kind)(body, "event");
  return { series: event.series ?? null, offset: event.offset ?? null, event: encode(body) };
}

// The field tables that evidence is made of (sections 2 to 9 and 11), in their order.

import { bytes, int, list, optional, record, text, uint } from "./fields.mjs";

const name = text(64, /^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/);
const longName = text(96, /^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/);
const reason = text(96, /^[^:]+:[^:]+$/);
const moment = int(0, Number.MAX_SAFE_INTEGER); // a time or a span
const hash = bytes(32);
const key = bytes(32);
const gatewayId = bytes(16);
const bootNonce = bytes(8);
const signature = bytes(64);
const suite = int(1, 255);
const offset = int(0, 2 ** 32 - 1);
const condition = int(0, 3);
const clock = int(0, 3);
const logPath = list(0, 64, hash);

export const Signed = record({ suite, body: bytes(0, 131072), signature });

export const StateProof = record({ siblings: list(0, 256, hash), path: bytes(0, 32), value_hash: bytes(0, 32) });

const Authority = record({ name, role: int(1, 2), key });
const Hub = record({ name, agency: name, key });
const Validator = record({ key, power: int(1, 2 ** 40) });
const Takeover = record({ genesis: hash, height: uint, app_hash: hash, signature });

export const Genesis = record({
  version: int(1, 1),
  suite,
  engine: int(1, 2),
  name: text(200),
  created: moment,
  authorities: list(1, 64, Authority),
  hubs: list(1, 64, Hub),
  validators: list(0, 64, Validator),
  epoch_changes: int(0, 512),
  epoch_window: moment,
  custodians: int(1, 64),
  takeovers: list(0, 64, Takeover),
});

const Series = record({
  index: int(0, 255),
  name: longName,
  quantity: name,
  unit: text(24),
  scale: int(-18, 18),
  klass: int(0, 2),
  dead_band: uint,
  longest: moment,
  period: moment,
  ring: moment,
  sensor: text(200),
  calibration: bytes(0, 8192),
});

export const Reading = record({ series: int(0, 255), offset, value: int() });
export const Status = record({ series: int(0, 255), offset, state: int(0, 3), reason: text(32) });
export const Shedding = record({ what: int(1, 3), first: uint, last: uint, count: uint });
export const ClockStep = record({ offset, step: int(), state: clock });
export const Outcome = record({ command: hash, offset, code: int(0, 3) });
export const Actuation = record({
  offset,
  output: name,
  active: int(0, 1),
  cause: int(1, 9),
  by: text(96),
  moved: int(0, 2),
});
const Sample = record({ back: offset, value: int() });
export const Earlier = record({ series: int(0, 255), offset, values: list(1, 256, Sample) });
export const Refusal = record({ offset, what: int(1, 3), reason: text(64), count: int(1), first: hash });

const Seen = record({ height: uint, log_size: uint, seal_hash: hash });
const Listing = record({ count: int(0, 256), root: hash });
const SegmentHead = record({ klass: int(0, 2), count: int(1, 4096), root: hash, hash, key_id: uint });

export const Header = record({
  genesis: hash,
  gateway: gatewayId,
  epoch: int(1, 2 ** 32 - 1),
  height: int(1, 2 ** 48 - 1),
  previous: hash,
  boot: bootNonce,
  wall: moment,
  mono: moment,
  span: offset,
  clock,
  catalogue: Listing,
  contracts: Listing,
  seen: Seen,
  segments: list(1, 3, SegmentHead),
});

const Deciding = record({ alias: text(64), value: int(), mono: moment });

export const Transition = record({
  genesis: hash,
  gateway: gatewayId,
  boot: bootNonce,
  counter: int(1),
  contract: name,
  contract_hash: hash,
  before: condition,
  after: condition,
  faults: list(0, 32, reason),
  values: list(0, 32, Deciding),
  wall: moment,
  mono: moment,
  clock,
});

const Alarm = record({ mark: int(0, 1), suite, transition: bytes(1, 4096), signature });

export const Ticket = record({ genesis: hash, authority: key, key, region: name, not_after: moment });
export const EnrolmentBody = record({ ticket: Signed, key, name: text(200) });
export const Enrolment = record({ suite, body: bytes(0, 131072), by_ticket: signature, by_gateway: signature });

const Position = record({ epoch: uint, height: uint, hash });

export const KeyEntry = record({ gateway: gatewayId, key, first: uint, kind: int(3, 16), record: hash });
export const KeyEnd = record({ kind: int(5, 7), last: Position, record: hash });

const KeySpan = record({ key, first: uint });
export const GatewayEntry = record({
  region: name,
  keys: list(1, 64, KeySpan),
  standing: int(0, 16),
  epoch: uint,
  head: Position,
  opened_at: uint,
  boot: bootNonce,
  mono: moment,
  seen: uint,
  epochs: list(0, 512, moment),
});
export const ContractsEntry = record({ version: uint, record: hash });

const Member = record({
  name,
  agency: name,
  key,
  validator: bytes(0, 32),
  power: int(0, 2 ** 40),
  standing: int(0, 12),
  breaches: uint,
});
export const Roster = record({ version: uint, authorities: list(1, 64, Authority), members: list(1, 64, Member) });

const AppState = record({ log_size: uint, log_root: hash, state_root: hash });
export const EmbeddedSeal = record({ genesis: hash, height: uint, time: moment, app_hash: hash });
const Seal = record({ engine: int(1, 2), data: bytes(0, 131072) });
const Checkpoint = record({ app: AppState, seal: Seal });
const FinalityProof = record({ index: uint, path: logPath, checkpoint: Checkpoint });
const Entry = record({ value: bytes(0, 131072), proof: StateProof });

const seconds = int(0, 9_007_199_254_739);
const nanos = int(0, 999_999_999);
const maybeHash = bytes(0, 32);

const CometHeader = record({
  block_version: uint,
  app_version: uint,
  chain_id: text(50),
  height: int(1),
  seconds,
  nanos,
  last_hash: maybeHash,
  last_parts: int(0, 2 ** 32 - 1),
  last_parts_hash: maybeHash,
  last_commit: maybeHash,
  data: maybeHash,
  validators: hash,
  next_validators: hash,
  consensus: maybeHash,
  app_hash: hash,
  last_results: maybeHash,
  evidence: maybeHash,
  proposer: bytes(20),
});

const Precommit = record({ validator: int(0, 63), seconds, nanos, signature });
const Commit = record({
  round: int(0, 2 ** 31 - 1),
  parts: int(1, 2 ** 32 - 1),
  parts_hash: hash,
  precommits: list(1, 64, Precommit),
});
const Step = record({ header: CometHeader, commit: Commit, validators: list(1, 64, Validator) });
export const CometSeal = record({ steps: list(0, 256, Step), header: CometHeader, commit: Commit });

const LeafPart = record({ segment: int(0, 2), index: uint, leaf: bytes(1, 8192), salt: bytes(0, 16), path: logPath });
const SeriesPart = record({ series: Series, path: logPath });
const ContractPart = record({ index: uint, document: bytes(1, 16384), path: logPath });
const BlockPart = record({
  header: Signed,
  leaf: LeafPart,
  series: optional(SeriesPart),
  contracts: list(0, 16, ContractPart),
  finality: FinalityProof,
  seen: optional(Checkpoint),
});
const AlarmPart = record({ alarm: Alarm, document: bytes(0, 16384), finality: FinalityProof });
export const Import = record({ takeover: hash, app: AppState, gateway: gatewayId, entry: Entry, contracts: Entry });
const Standing = record({
  key,
  origin: bytes(0, 131072),
  begin: Entry,
  end: Entry,
  roster: optional(Entry),
  checkpoint: Checkpoint,
});

export const Evidence = record({
  version: int(1, 1),
  genesis: Genesis,
  block: optional(BlockPart),
  alarm: optional(AlarmPart),
  standing: Standing,
});

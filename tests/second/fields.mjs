// What a field may hold, in the words of the tables. A field type is a function from an item to its checked value.

import { decode, encode } from "./cbor.mjs";
import { demand } from "./refusal.mjs";

const ITEM = Symbol("the item that a record was read from");

export function int(least = -(2n ** 63n), most = 2n ** 63n - 1n) {
  const [low, high] = [BigInt(least), BigInt(most)];
  return (item, where) => {
    demand(typeof item === "bigint", `${where} is no integer`);
    demand(item >= low && item <= high, `${where} is not in ${low}..${high}`);
    return item;
  };
}

export const uint = int(0);

export function bytes(least, most = least) {
  return (item, where) => {
    demand(Buffer.isBuffer(item), `${where} is no byte string`);
    demand(item.length >= least && item.length <= most, `${where} is not of ${least}..${most} bytes`);
    return item;
  };
}

export function text(most, pattern = /^/) {
  return (item, where) => {
    demand(typeof item === "string", `${where} is no text`);
    demand(Buffer.byteLength(item, "utf8") <= most, `${where} has more than ${most} bytes`);
    demand(pattern.test(item), `${where} does not match its pattern`);
    return item;
  };
}

export function list(least, most, entry) {
  return (item, where) => {
    demand(Array.isArray(item), `${where} is no array`);
    demand(item.length >= least && item.length <= most, `${where} has not ${least}..${most} entries`);
    return item.map((value, index) => entry(value, `${where}[${index}]`));
  };
}

export function record(fields) {
  const named = Object.entries(fields);
  return (item, where) => {
    demand(Array.isArray(item) && item.length === named.length, `${where} is no array of ${named.length} fields`);
    const result = { [ITEM]: item };
    named.forEach(([name, field], index) => {
      result[name] = field(item[index], `${where}.${name}`);
    });
    return result;
  };
}

/** A record, or the empty array where there is none: null. */
export function optional(type) {
  return (item, where) => (Array.isArray(item) && item.length === 0 ? null : type(item, where));
}

/** The record that a byte string holds. */
export function parse(type, data, where) {
  return type(decode(data), where);
}

/** A record's own bytes: each value has one spelling, so writing it again gives the bytes as received. */
export function bytesOf(value) {
  return encode(value[ITEM]);
}

/** Addresses: `scheme:target?option=value`, the whole configuration of one end. Held by `vectors/address.json`. */

import { Fault, PanpipeError, known } from "./error.js";
import type { Framing } from "./framing/framing.js";
import { asPlain, commonOptions, defaults, readOption, settleProtocol, type Option, type Options } from "./option.js";

/** An address, read. */
export interface Address extends Options {
  /** As it was written. */
  text: string;
  /** Which transport. */
  scheme: string;
  /** What follows the scheme, percent-decoded. */
  target: string;
  /** The options that were given, percent-decoded. */
  options: Readonly<Record<string, string>>;
  /** Whether the other end may be on another machine. */
  elsewhere: boolean;
  /** How plain messages are framed on a link of bytes; null where there are only packets. */
  plainFraming: Framing | null;
}

/** What addresses may say; an argument, because a browser has other transports, few options and no framings. */
export interface Vocabulary {
  transports: readonly TransportInfo[];
  /** Beside those that every transport takes. */
  options: readonly Option[];
  /** The framing of a name; throws a `Fault` that lists the known ones. Null where all transports move packets. */
  framing: ((name: string) => Framing) | null;
}

/** What an address needs to know of a transport. */
export interface TransportInfo {
  /** Its name in an address. */
  scheme: string;
  /** How its addresses are written. */
  form: string;
  /** Whether it reaches other machines. */
  reaches: string;
  /** What to take it for. */
  goodFor: string;
  /** What not to take it for. */
  notFor: string;
  /** The options it takes beside the common ones. */
  options: readonly string[];
  /** Whether it moves packets, which need no framing. */
  packets?: boolean;
  /** Whether an address that says neither means the plain protocol: there is no connection, or only one way. */
  plain?: boolean;
  /** Throws a `Fault` for a target that is none, or that does not go with the options; `given` are those that were written. */
  check(target: string, options: Options, given: Readonly<Record<string, string>>): void;
}

/** Reads an address; throws `invalid-address` or `unsupported`. */
export function parseAddress(text: string, vocabulary: Vocabulary): Address {
  try {
    return parse(text, vocabulary);
  } catch (error) {
    if (error instanceof Fault) throw error.during(`reading the address ${JSON.stringify(text)}`, text);
    throw error;
  }
}

/** What a pair may be made of; the first is meant when none is said. */
const oneWay = "one-way";
const pairKinds = ["socket", "pipe", oneWay];

/** Reads what `pair` takes: `KIND?OPTIONS`, of which each part may be missing, or the options alone. The kind is the target. */
export function parsePair(text: string, vocabulary: Vocabulary): Address {
  const into = { ...defaults };
  try {
    const question = text.indexOf("?");
    const [kind, given] = question >= 0 ? [text.slice(0, question), text.slice(question + 1)] : text.includes("=") ? ["", text] : [text, ""];
    const target = kind === "" ? pairKinds[0]! : kind;
    if (!pairKinds.includes(target)) throw new Fault("unsupported", `there is no pair ${JSON.stringify(kind)}; ${known(pairKinds)}`);
    const options = given === "" ? {} : readOptions(given, optionsOf(["framing", "chaos"], vocabulary), into);
    if (into.chaos !== null && target !== pairKinds[0]) throw new Fault("unsupported", "chaos needs a pair of sockets");
    settleProtocol(options, into, target === oneWay);
    return { ...into, text: `pair:${text}`, scheme: "pair", target, options, elsewhere: false, plainFraming: plainFramingOf(into, vocabulary) };
  } catch (error) {
    if (error instanceof Fault) throw error.during(`making the pair ${JSON.stringify(text)}`, text);
    throw error;
  }
}

/** The same address with another target; `target` must not need percent-encoding. */
export function withTarget(address: Address, target: string): string {
  const question = address.text.indexOf("?");
  return `${address.scheme}:${target}${question < 0 ? "" : address.text.slice(question)}`;
}

/** The target as it was written, percent-encoding and all. */
export function writtenTarget(address: Address): string {
  return address.text.slice(address.scheme.length + 1).split("?", 1)[0]!;
}

function parse(text: string, vocabulary: Vocabulary): Address {
  const { transports } = vocabulary;
  if (typeof text !== "string") throw new PanpipeError("invalid-address", "reading an address", { text: "an address is a string" });
  const full = text === "-" || text.startsWith("-?") ? `stdio:${text.slice(1)}` : text;
  const colon = full.indexOf(":");
  const scheme = full.slice(0, Math.max(colon, 0));
  if (!/^[a-z][a-z0-9-]*$/.test(scheme)) {
    throw new Fault("invalid-address", "an address is scheme:target?option=value with a scheme in lower case, as in tcp://localhost:9999");
  }
  const transport = transports.find((each) => each.scheme === scheme);
  if (transport === undefined) {
    throw new Fault("unsupported", `there is no scheme ${JSON.stringify(scheme)}; ${known(transports.map((each) => each.scheme))}`);
  }
  const question = full.indexOf("?");
  const target = percentDecode(full.slice(colon + 1, question < 0 ? undefined : question));
  const into = { ...defaults };
  const own = transport.packets ? transport.options : ["framing", ...transport.options];
  const options = question < 0 ? {} : readOptions(full.slice(question + 1), optionsOf(own, vocabulary), into);
  settleProtocol(options, into, transport.plain === true);
  transport.check(target, into, options);
  return { ...into, text, scheme, target, options, elsewhere: transport.reaches === "other machines", plainFraming: plainFramingOf(into, vocabulary) };
}

function optionsOf(names: readonly string[], vocabulary: Vocabulary): Option[] {
  return [...commonOptions, ...vocabulary.options.filter(({ info }) => names.includes(info.name))];
}

function plainFramingOf(options: Options, vocabulary: Vocabulary): Framing | null {
  return vocabulary.framing === null ? null : vocabulary.framing(asPlain(options).framing);
}

function readOptions(text: string, allowed: readonly Option[], into: Options): Record<string, string> {
  const given: Record<string, string> = Object.create(null);
  for (const part of text.split("&")) {
    const equals = part.indexOf("=");
    if (equals < 1) throw new Fault("invalid-address", `${JSON.stringify(part)} is no option; an option is name=value`);
    const name = part.slice(0, equals);
    if (name in given) throw new Fault("invalid-address", `the option ${name} is given twice`);
    const value = percentDecode(part.slice(equals + 1));
    readOption(name, value, allowed, into);
    given[name] = value;
  }
  return { ...given };
}

function percentDecode(text: string): string {
  if (/%(?![0-9a-fA-F]{2})/.test(text)) throw new Fault("invalid-address", "a % must be followed by two hex digits; %25 is a percent sign");
  let decoded;
  try {
    decoded = decodeURIComponent(text);
  } catch {
    throw new Fault("invalid-address", "what percent signs spell is not UTF-8");
  }
  if (decoded.includes("\0")) throw new Fault("invalid-address", "an address cannot hold a zero byte");
  return decoded;
}

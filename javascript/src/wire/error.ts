/** Errors: one list of codes for every language, and the one class that carries them. */

/** Every code there is, when it is used, and the exit code of the command for it. Held by `vectors/errors.json`. */
export const codes = [
  { code: "invalid-address", exit: 2, when: "malformed, or not allowed without another option" },
  { code: "unsupported", exit: 2, when: "an unknown scheme, framing, protocol or option; a message that the framing cannot carry" },
  { code: "refused", exit: 3, when: "nobody listens there" },
  { code: "not-found", exit: 3, when: "a name that does not resolve, a socket file or descriptor that is not there" },
  { code: "permission", exit: 3, when: "the system says no" },
  { code: "unauthenticated", exit: 3, when: "a side could not prove who it is: a certificate or token that is missing or not accepted" },
  { code: "address-in-use", exit: 3, when: "somebody else listens there" },
  { code: "path-too-long", exit: 3, when: "a socket path of more bytes than the system takes" },
  { code: "busy", exit: 3, when: "a limit of this process or machine: descriptors, memory, connections" },
  { code: "remote", exit: 1, when: "the handler failed; the error says what it raised" },
  { code: "invalid-arguments", exit: 2, when: "the arguments do not fit the method" },
  { code: "deadline-exceeded", exit: 4, when: "the timeout passed" },
  { code: "bad-peer", exit: 5, when: "the other side broke the framing or the protocol" },
  { code: "version", exit: 5, when: "the other side speaks another version of the protocol" },
  { code: "too-large", exit: 6, when: "a message above max" },
  { code: "lagged", exit: 7, when: "a subscriber that was to keep up did not" },
  { code: "connection-lost", exit: 7, when: "the other side went away" },
  { code: "closed", exit: 7, when: "this side closed" },
  { code: "cancelled", exit: 130, when: "the caller gave up" },
  { code: "io", exit: 3, when: "the system failed in a way of its own; the text says how" },
] as const;

/** A code of the list above. */
export type Code = (typeof codes)[number]["code"];

/** Whether the other side may have acted on what was sent. */
export type Ran = "no" | "maybe";

/** What a `PanpipeError` knows beside its code and what was being done. */
export interface ErrorFacts {
  /** The address that it happened on. */
  address?: string | undefined;
  /** Whether the other side may have run it; `no` when left out. */
  ran?: Ran | undefined;
  /** Why, in words; left out, the text of `cause` is used. */
  text?: string | undefined;
  /** The error below this one. */
  cause?: unknown;
}

/** The one error of this package. Its message reads `doing: code: why`; the code is API, the text is not. */
export class PanpipeError extends Error {
  /** One of `codes`. */
  readonly code: Code;
  /** What was being done, as in `connecting to tcp://127.0.0.1:1`. */
  readonly doing: string;
  /** The address that it happened on; empty where there is none. */
  readonly address: string;
  /** Whether the other side may have run it. */
  readonly ran: Ran;

  constructor(code: Code, doing: string, facts: ErrorFacts = {}) {
    const why = facts.text ?? (facts.cause instanceof Error ? facts.cause.message : "");
    super(why === "" ? `${doing}: ${code}` : `${doing}: ${code}: ${why}`, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = "PanpipeError";
    this.code = code;
    this.doing = doing;
    this.address = facts.address ?? "";
    this.ran = facts.ran ?? "no";
  }
}

/**
 * What the parsers throw: a code and the reason, before anybody knows what was being done and on which address.
 * It never leaves this package, and it records no stack, because a peer can cause as many as it likes.
 */
export class Fault {
  constructor(
    readonly code: Code,
    readonly text: string,
  ) {}

  /** The error for the user. */
  during(doing: string, address: string, ran: Ran = "no"): PanpipeError {
    return new PanpipeError(this.code, doing, { address, ran, text: this.text });
  }
}

/** What follows `in` a sentence about a wrong name: the names that there are. */
export function known(names: Iterable<string>): string {
  return `known: ${[...names].join(", ")}`;
}

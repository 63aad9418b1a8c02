/** Service: what one end answers with, its methods and its topics. */

import type { Bytes } from "#runtime";

import type { Context } from "./context.js";
import type { Handler } from "./plain-serving.js";
import { Topic, type TopicOptions } from "./topic.js";
import { PanpipeError } from "./wire/error.js";
import { nameBytes } from "./wire/panpipe/names.js";
import type { Value } from "./wire/panpipe/unpack.js";
import { Fault } from "./wire/error.js";
import type { Message } from "./wire/session.js";

/** A parameter of a method: its name, or more than that. `schema` is a JSON Schema. */
export type Parameter = string | { name: string; required?: boolean; schema?: object; doc?: string };

/** What a method is declared with. */
export interface MethodOptions {
  /** Its parameters, which are checked, and into which named arguments are sorted. Left out, it takes what comes, and named arguments as one object behind the others. */
  params?: readonly Parameter[];
  /** JSON Schema of what it returns, or of the items that it streams. */
  result?: object;
  /** What it does, in words. */
  doc?: string;
  /** Whether its first argument is the `Context` of the call. */
  context?: boolean;
}

/** A method as it was declared. */
export interface Declared {
  readonly name: string;
  readonly run: (...args: any[]) => unknown;
  readonly params: readonly { name: string; required: boolean; schema: object; doc: string }[] | null;
  readonly result: object | null;
  readonly doc: string;
  readonly context: boolean;
  readonly streams: boolean;
}

/** Methods and topics, which any number of connections may share. */
export class Service {
  readonly #methods = new Map<string, Declared>();
  readonly #topics = new Map<string, Topic>();
  #plain: Handler<any> | null = null;

  constructor(
    /** What it is called in its description. */
    readonly title = "panpipe service",
    /** Its version there. */
    readonly version = "0.0.0",
  ) {
    this.#methods.set(describing, { name: describing, run: () => this.describe(), params: [], result: null, doc: "", context: false, streams: false });
  }

  /**
   * Answers calls of `name`. What the function returns or resolves to is the reply, what it throws an error of the caller; a generator, asynchronous or not, is a stream.
   *
   * Throws `unsupported` for a name that is none, begins with `panpipe.` or was declared before.
   */
  method<A extends any[]>(name: string, run: (context: Context, ...args: A) => unknown, options: MethodOptions & { context: true }): this;
  method<A extends any[]>(name: string, run: (...args: A) => unknown, options?: MethodOptions): this;
  method(name: string, run: (...args: any[]) => unknown, options: MethodOptions = {}): this {
    check("declaring the method", name, this.#methods.has(name));
    const { params, result = null, doc = "", context = false } = options;
    this.#methods.set(name, {
      name,
      run,
      params: params?.map((each) => (typeof each === "string" ? { name: each, required: true, schema: {}, doc: "" } : { required: true, schema: {}, doc: "", ...each })) ?? null,
      result,
      doc,
      context,
      streams: /Generator/.test(Object.prototype.toString.call(run)),
    });
    return this;
  }

  /** A topic of this name, which others subscribe to and may publish to. Throws as `method` does. */
  topic<T = unknown>(name: string, options: TopicOptions = {}): Topic<T> {
    check("declaring the topic", name, this.#topics.has(name));
    const topic = new Topic<T>(name, options);
    this.#topics.set(name, topic as Topic);
    return topic;
  }

  /** Answers peers without panpipe, where the address lists a framing in `accept`: every message with what the handler returns. Messages are strings with `text=true` (`plain<string>` in TypeScript). */
  plain<M extends Message = Bytes>(handler: Handler<M>): this {
    this.#plain = handler;
    return this;
  }

  /** What it offers, as an OpenRPC 1.3 document. */
  describe(): { [key: string]: Value } {
    const methods = [...this.#methods.values()].filter(({ name }) => name !== describing);
    return {
      openrpc: "1.3.2",
      info: { title: this.title, version: this.version },
      methods: methods.map(describeMethod),
      "x-panpipe-topics": [...this.#topics.keys()],
    };
  }

  /** Not for users: what answers plain messages. */
  get plainHandler(): Handler<any> | null {
    return this.#plain;
  }

  /** Not for users: the method of this name. */
  find(name: string): Declared | undefined {
    return this.#methods.get(name);
  }

  /** Not for users: the topic of this name. */
  findTopic(name: string): Topic | undefined {
    return this.#topics.get(name);
  }
}

/** The method that every service has. */
export const describing = "panpipe.describe";

function describeMethod({ name, params, result, doc, streams }: Declared): { [key: string]: Value } {
  return {
    name,
    ...(doc === "" ? {} : { description: doc }),
    params: (params ?? []).map((each) => ({ name: each.name, required: each.required, schema: each.schema as Value, ...(each.doc === "" ? {} : { description: each.doc }) })),
    result: { name: "result", schema: (result ?? {}) as Value },
    ...(streams ? { "x-panpipe": { stream: true } } : {}),
  };
}

function check(doing: string, name: string, known: boolean): void {
  const during = `${doing} ${JSON.stringify(name)}`;
  try {
    nameBytes(name);
  } catch (error) {
    throw error instanceof Fault ? error.during(during, "") : error;
  }
  if (name.startsWith("panpipe.")) throw new PanpipeError("unsupported", during, { text: "names that begin with panpipe. are the protocol's own" });
  if (known) throw new PanpipeError("unsupported", during, { text: "it was declared before" });
}

/** Answering: the loop that gives each message of a connection to a handler and sends what it returns. */

import type { Session, Message } from "./wire/session.js";
import { Fault } from "./wire/error.js";

/** What a handler threw, told apart from what broke its connection. */
export class HandlerFailure {
  constructor(readonly cause: unknown) {}
}

/** What the loop needs of its connection. */
export interface Answerer {
  session: Session;
  /** Sends a reply; answers a promise when there is no room at the moment. */
  reply(value: unknown): Promise<void> | undefined;
  /** A message that cannot be had, and the next may be. */
  missed(fault: Fault): void;
  /** Nothing more to answer for now: what was replied may go out. */
  idle(): void;
}

/** Answers one message at a time, until the peer closes, something breaks, or `stop`. */
export class Answering {
  /** Done when it is over; rejects with what broke the connection, or with a `HandlerFailure`. */
  readonly done: Promise<void>;
  /** Whether it is over. */
  over = false;
  #settle!: { resolve: () => void; reject: (error: unknown) => void };
  #stopping = false;
  #working = false;
  #waitsForRoom = false;

  constructor(
    readonly connection: Answerer,
    readonly handler: (message: Message) => unknown,
  ) {
    this.done = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.#step();
  }

  /** Takes no more messages; a handler that runs may finish and its reply goes out, unless the peer does not read. */
  stop(): void {
    this.#stopping = true;
    if (!this.#working || this.#waitsForRoom) this.giveUp();
  }

  /** Ends it without the handler that runs. */
  giveUp(): void {
    this.#end(this.#settle.resolve);
  }

  // Called when there may be a message. Not a loop that awaits, which would cost a promise for every wait.
  readonly #step = (): void => {
    this.#working = this.#waitsForRoom = false;
    const { session } = this.connection;
    try {
      while (!this.#stopping) {
        const message = session.take(this.#step);
        if (message instanceof Fault) {
          this.connection.missed(message);
          continue;
        }
        if (message === null) return this.#end(this.#settle.resolve);
        if (message === undefined) return this.connection.idle();
        if (!this.#answer(message)) return;
      }
      this.#end(this.#settle.resolve);
    } catch (error) {
      this.#fail(error);
    }
  };

  /** Answers whether the next message may follow at once. */
  #answer(message: Uint8Array): boolean {
    const presented = this.#present(message);
    let given;
    try {
      given = this.handler(presented);
    } catch (error) {
      throw new HandlerFailure(error);
    }
    if (isThenable(given)) {
      this.#working = true;
      // A promise stays as it is. Any other `then` may throw, call back at once or twice, which a promise sets right.
      Promise.resolve(given).then(this.#finish, (error) => this.#fail(new HandlerFailure(error)));
      return false;
    }
    return this.#reply(given);
  }

  readonly #finish = (value: unknown): void => {
    try {
      if (!this.over && this.#reply(value)) this.#step();
    } catch (error) {
      this.#fail(error);
    }
  };

  #reply(value: unknown): boolean {
    if (value === null || value === undefined) return true;
    const room = this.connection.reply(value);
    if (room === undefined) return true;
    this.#working = this.#waitsForRoom = true;
    room.then(this.#step, (error) => this.#fail(error));
    return false;
  }

  #present(message: Uint8Array): Message {
    const { session } = this.connection;
    try {
      return session.present(message);
    } catch (error) {
      throw (error as Fault).during(`receiving from ${session.address}`, session.address);
    }
  }

  #fail(error: unknown): void {
    this.#end(() => this.#settle.reject(error));
  }

  #end(settle: () => void): void {
    if (this.over) return;
    this.over = true;
    this.connection.idle();
    settle();
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}

/** A child: its stderr, its end, and what is left of its process group. */

import type { ChildProcess } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import type { Readable } from "node:stream";

import { forget, watch } from "./watcher.js";

/** So many of the last bytes of a child's stderr stand in errors. */
const tailSize = 4096;

/** The rest of a dead child's stderr is waited for so many milliseconds; somebody else may hold it. */
const grace = 250;

/** After its input has ended a child has so many milliseconds to go by itself, then as many after SIGTERM as the next says. */
const patience = 2000;
const patienceAfterTerm = 5000;

/** How a process group is waited for, which gives no sign when it is empty. */
const pollEvery = 20;

/** A running child that leads a process group; both end with this process. */
export class Child {
  /** Done when the child has exited; what it left behind may live on. */
  readonly exited: Promise<void>;
  /** Whether it has. */
  ended = false;
  #endedAt = 0;
  #tail: Buffer = Buffer.alloc(0);
  #ending: Promise<void> | null = null;
  // Whether the group's number is still ours.
  #grouped = true;

  constructor(
    readonly process: ChildProcess,
    readonly pid: number,
  ) {
    watch(pid);
    process.unref();
    process.on("error", () => {});
    this.exited = new Promise((resolve) =>
      process.once("exit", () => {
        this.ended = true;
        this.#endedAt = performance.now();
        // A number whose group is empty is the system's to give away, and now is the last moment to know.
        if (!this.#groupLives()) this.#gone();
        resolve();
      }),
    );
    if (process.stderr !== null) this.#drain(process.stderr);
  }

  /** How it ended and what it said last, and whether that was a clean end; waits a moment for the rest of its stderr. */
  async lastWords(): Promise<{ text: string; clean: boolean }> {
    const { exitCode, signalCode, stderr } = this.process;
    if (!this.ended) return { text: "the child closed its output", clean: true };
    const signal = signalCode === null ? "" : `signal ${os.constants.signals[signalCode]} (${signalCode})`;
    const how = signalCode === null ? `exited with status ${exitCode}` : `was killed by ${signal}`;
    if (exitCode === 0) return { text: `the child ${how}`, clean: true };
    if (stderr !== null) await closed(stderr, this.#endedAt + grace - performance.now());
    const last = this.#tail.toString("utf8").trim();
    return { text: `the child ${how}${last === "" ? "" : `; its stderr ended: ${last}`}`, clean: false };
  }

  /** Waits for the child, whose input has ended, and all of its process group to go, and makes them. */
  end(wait = patience, waitAfterTerm = patienceAfterTerm): Promise<void> {
    return (this.#ending ??= this.#end(wait, waitAfterTerm));
  }

  async #end(wait: number, waitAfterTerm: number): Promise<void> {
    this.process.ref();
    await this.#within(wait, this.exited);
    if (this.#groupLives()) {
      this.#kill("SIGTERM");
      await this.#within(waitAfterTerm, this.#empty(waitAfterTerm));
      if (this.#groupLives()) this.#kill("SIGKILL");
      // After SIGKILL nothing is left but what the system itself holds up.
      await this.exited;
      await this.#empty(1000);
    }
    await this.exited;
    if (this.#grouped) this.#gone();
    const { stderr } = this.process;
    if (stderr !== null) await closed(stderr, 100);
    stderr?.destroy();
  }

  async #empty(atMost: number): Promise<void> {
    for (const end = performance.now() + atMost; this.#groupLives() && performance.now() < end; ) await pause(pollEvery);
  }

  async #within(milliseconds: number, work: Promise<void>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([work, new Promise((resolve) => (timer = setTimeout(resolve, milliseconds)))]);
    clearTimeout(timer);
  }

  #gone(): void {
    this.#grouped = false;
    forget(this.pid);
  }

  #kill(signal: NodeJS.Signals): void {
    try {
      process.kill(-this.pid, signal);
    } catch {
      // Gone in this moment.
    }
  }

  /** Whether somebody of our group lives. A dead leader's number is nobody's while its group is not empty, so a process of that number means that it is another's. */
  #groupLives(): boolean {
    if (!this.#grouped) return false;
    if (!this.ended) return true;
    return !exists(this.pid) && exists(-this.pid) && hasMembers(this.pid);
  }

  /** Passes stderr on and keeps its end. A reader of ours that does not read holds the child up, as it would without us. */
  #drain(stderr: Readable & { unref?(): void }): void {
    stderr.unref?.();
    stderr.on("error", () => {});
    stderr.on("data", (chunk: Buffer) => {
      // Copied: a view would keep all of the chunk.
      this.#tail = chunk.length >= tailSize ? Buffer.from(chunk.subarray(-tailSize)) : Buffer.concat([this.#tail, chunk]).subarray(-tailSize);
      mute();
      if (process.stderr.write(chunk, () => stderr.resume()) === false) stderr.pause();
    });
  }
}

let muted = false;

/** A stderr of ours that nobody reads any more is no reason to die because a child writes. */
function mute(): void {
  if (!muted) process.stderr.on("error", () => {});
  muted = true;
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/** Whether a group that exists has more than zombies, which nobody may ever reap. */
function hasMembers(group: number): boolean {
  let names;
  try {
    names = fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  } catch {
    return true;
  }
  return names.some((name) => {
    try {
      // Columns of proc(5) behind the name, which may hold anything: state, parent, group.
      const stat = fs.readFileSync(`/proc/${name}/stat`, "latin1");
      const [state, , of] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return Number(of) === group && state !== "Z" && state !== "X";
    } catch {
      return false;
    }
  });
}

function closed(stream: Readable, atMost: number): Promise<void> {
  if (stream.closed || stream.destroyed || stream.readableEnded) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, atMost);
    stream.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

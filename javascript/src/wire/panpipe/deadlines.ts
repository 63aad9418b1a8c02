/** Deadlines: which of many calls is the next whose time is over. */

/** What has a deadline. */
export interface Timed {
  /** An instant. */
  readonly deadline: number;
  /** Whether it still waits. */
  readonly waiting: boolean;
}

/** Fewer that do not wait any more than this are not worth tidying up. */
const few = 1024;

/** A heap. What does not wait any more stays until it is half of all, so that each costs the same however many there are. */
export class Deadlines {
  #heap: Timed[] = [];
  #over = 0;

  /** Watches one more; `Infinity` is none. */
  add(timed: Timed): void {
    if (timed.deadline === Infinity) return;
    const heap = this.#heap;
    let at = heap.length;
    heap.push(timed);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]!.deadline <= timed.deadline) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = timed;
  }

  /** One that was added does not wait any more. */
  drop(timed: Timed): void {
    if (timed.deadline === Infinity) return;
    if (++this.#over < few || this.#over * 2 < this.#heap.length) return;
    this.#heap = this.#heap.filter((each) => each.waiting);
    this.#over = 0;
    for (let at = (this.#heap.length >> 1) - 1; at >= 0; at--) this.#sink(at);
  }

  /** An instant before which none is due, or `Infinity`; it may be that of one that does not wait any more. */
  get soonest(): number {
    return this.#heap.length === 0 ? Infinity : this.#heap[0]!.deadline;
  }

  /** The earliest deadline, or `Infinity`. Finding it out costs more than `soonest` where many came and went. */
  get next(): number {
    while (this.#heap.length > 0 && !this.#heap[0]!.waiting) this.#shift();
    return this.#heap.length === 0 ? Infinity : this.#heap[0]!.deadline;
  }

  /** Takes one whose deadline has come by `now`, or answers null. */
  takeDue(now: number): Timed | null {
    if (this.next > now) return null;
    const due = this.#heap[0]!;
    this.#shift();
    // It is not waiting for its deadline any more, and `drop` will count it.
    this.#over--;
    return due;
  }

  #shift(): void {
    const heap = this.#heap;
    if (!heap[0]!.waiting) this.#over--;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    heap[0] = last;
    this.#sink(0);
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const sinking = heap[from]!;
    for (let at = from; ; ) {
      let child = 2 * at + 1;
      if (child + 1 < heap.length && heap[child + 1]!.deadline < heap[child]!.deadline) child++;
      if (child >= heap.length || heap[child]!.deadline >= sinking.deadline) {
        heap[at] = sinking;
        return;
      }
      heap[at] = heap[child]!;
      at = child;
    }
  }
}

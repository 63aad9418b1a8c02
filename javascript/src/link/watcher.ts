/**
 * The watcher: one small process that ends our children when we are gone, however we went.
 *
 * It holds one end of a pipe whose other end only we hold, and learns over it which process groups are ours.
 * When we end, by SIGKILL too, it reads the end of the pipe, sends each group SIGTERM and half a second later SIGKILL.
 * It is no child of ours and in a session of its own, so that neither Ctrl-C nor our own waiting for children meets it.
 */

import { spawn } from "node:child_process";
import type { Socket } from "node:net";

// What stays is the list in the background, which is nobody's child once the shell itself has ended.
const script = `{
  trap "" INT TERM HUP QUIT PIPE
  groups=" "
  while read -r line; do
    id=\${line#?}
    case $line in
      +*) groups="$groups$id " ;;
      -*) case $groups in *" $id "*) groups="\${groups%% $id *} \${groups#* $id }" ;; esac ;;
    esac
  done
  for id in $groups; do kill -s TERM -- "-$id"; done
  case $groups in *[0-9]*) sleep 0.5 ;; esac
  for id in $groups; do kill -s KILL -- "-$id"; done
} <&3 >/dev/null 2>&1 &`;

const groups = new Set<number>();
let lifeline: Socket | null = null;

/** From now on this process group ends when we do; called in the turn that made it. */
export function watch(group: number): void {
  groups.add(group);
  if (lifeline === null) start();
  else lifeline.write(`+${group}\n`);
}

/** This process group is gone, and its number may become somebody else's. */
export function forget(group: number): void {
  groups.delete(group);
  lifeline?.write(`-${group}\n`);
}

/** Starts a watcher for all groups there are; a pipe that nobody reads takes no more room than the system gives it. */
function start(): void {
  const shell = spawn("/bin/sh", ["-c", script], { detached: true, stdio: ["ignore", "ignore", "ignore", "pipe"], cwd: "/" });
  shell.on("error", (error) => {
    process.emitWarning(`no watcher: ${error.message}; children outlive this process when it is killed`, "PanpipeWatcherWarning");
  });
  if (shell.pid === undefined) return;
  shell.unref();
  const pipe = shell.stdio[3] as Socket;
  pipe.unref();
  pipe.on("error", () => {});
  // Only if somebody ended the watcher.
  pipe.on("close", () => {
    lifeline = null;
    if (groups.size > 0) start();
  });
  pipe.resume();
  lifeline = pipe;
  // Small enough to be written in this turn: Node tries each write at once.
  pipe.write([...groups].map((group) => `+${group}\n`).join(""));
}

//! What panpipe over WebSocket is compared with: the echo of the libraries that people take for it.

use crate::calls::{NODE, PYTHON, RUST};
use crate::face::{Bar, Face, MEASURED, Program, ProgramKind, Rival, Workload, bars};

const TUNGSTENITE: Rival = Rival {
    name: "tungstenite",
    program: Program::of(
        ProgramKind::RustRival("tungstenite"),
        "tokio-tungstenite on a current-thread runtime: an echo; \
         in flight: all that a read brought is answered, or asked anew, in one flush",
    ),
};

const fn call(bars: &'static [Option<Bar>]) -> Workload {
    Workload { name: "64 B call", task: "round-trip 64 1", unit: "µs", measured: MEASURED, bars }
}

const fn in_flight(bars: &'static [Option<Bar>]) -> Workload {
    Workload { name: "64 B, 64 in flight", task: "in-flight 64 64", unit: "k/s", measured: MEASURED, bars }
}

/// The faces over WebSocket, and the bars that each must meet.
pub(crate) const WEBSOCKETS: &[Face] = &[
    Face {
        name: "rust-websocket",
        rivals: &[TUNGSTENITE],
        panpipe: Some(Program::of(
            ProgramKind::Rust("panpipe-tokio"),
            "panpipe::plain on a current-thread runtime: serve and call; one way: listen, recv and send",
        )),
        transports: &["ws"],
        options: "protocol=plain",
        workloads: &[
            call(bars!(AtMost 1.0)),
            Workload {
                name: "64 KiB round trip",
                task: "round-trip 65536 1",
                unit: "µs",
                measured: MEASURED,
                bars: bars!(AtMost 1.0),
            },
            in_flight(bars!(AtLeast 1.0)),
            Workload {
                name: "64 KiB one way",
                task: "stream 65536 1",
                unit: "MB/s",
                measured: MEASURED,
                bars: bars!(AtLeast 1.0),
            },
        ],
        warm_up: 100,
    },
    Face {
        name: "rust-websocket-calls",
        rivals: &[TUNGSTENITE],
        panpipe: RUST,
        transports: &["ws"],
        options: "",
        workloads: &[call(bars!(AtMost 1.0)), in_flight(&[None])],
        warm_up: 100,
    },
    Face {
        name: "python-websocket-blocking",
        rivals: &[Rival {
            name: "websockets",
            program: Program::of(
                ProgramKind::PythonRival("websockets_blocking.py"),
                "websockets with threads: an echo, without compression",
            ),
        }],
        panpipe: Some(Program {
            server: ProgramKind::Python("panpipe_calls_asyncio.py"),
            client: ProgramKind::Python("panpipe_calls_blocking.py"),
            about: "panpipe.connect; the server is a Service, on asyncio as always",
        }),
        transports: &["ws"],
        options: "",
        workloads: &[call(bars!(AtMost 0.7))],
        warm_up: 100,
    },
    Face {
        name: "python-websocket-asyncio",
        rivals: &[Rival {
            name: "websockets",
            program: Program::of(
                ProgramKind::PythonRival("websockets_asyncio.py"),
                "websockets on asyncio: an echo, without compression",
            ),
        }],
        panpipe: PYTHON,
        transports: &["ws"],
        options: "",
        workloads: &[call(bars!(AtMost 0.7))],
        warm_up: 100,
    },
    Face {
        name: "node-websocket",
        rivals: &[Rival {
            name: "ws",
            program: Program::of(
                ProgramKind::NodeRival("ws.mjs"),
                "npm ws: an echo, without compression; in flight: promises, resolved in order",
            ),
        }],
        panpipe: NODE,
        transports: &["ws"],
        options: "",
        workloads: &[call(bars!(AtMost 1.1)), in_flight(bars!(AtLeast 1.0))],
        warm_up: 800,
    },
    Face {
        name: "browser-websocket",
        rivals: &[Rival {
            name: "bare",
            program: Program {
                server: ProgramKind::NodeRival("ws.mjs"),
                client: ProgramKind::Node("bare_page.mjs"),
                about: "a WebSocket of a page in Chromium, to the echo of npm ws; answered in order",
            },
        }],
        panpipe: Some(Program::of(
            ProgramKind::Node("panpipe_page.mjs"),
            "a page in Chromium that calls a Service in Node; in flight: an async function for each call",
        )),
        transports: &["ws"],
        options: "",
        workloads: &[
            Workload { measured: 500, ..call(&[None]) },
            Workload { measured: 500, ..in_flight(&[Some(REACHING)]) },
        ],
        warm_up: 800,
    },
];

/// What a page must reach, whatever a bare one does.
const REACHING: Bar = Bar::AtLeastAndReaching(0.0, 20.0);

const FOR_A_CONNECTION: &[Workload] = &[Workload {
    name: "for a connection",
    task: "crowd 64 2000",
    unit: "KiB",
    measured: MEASURED,
    bars: &[Some(Bar::AtMostAndWithin(1.0, 32.0))],
}];

/// The connections of one server, which Rust makes and lets call once and again.
const fn memory(name: &'static str, rivals: &'static [Rival], server: ProgramKind, about: &'static str) -> Face {
    Face {
        name,
        rivals,
        panpipe: Some(Program { server, client: ProgramKind::Rust("panpipe-calls"), about }),
        transports: &["ws"],
        options: "connections=2500",
        workloads: FOR_A_CONNECTION,
        warm_up: 0,
    }
}

/// What a server holds for each of two thousand connections; measured by `memory.rs`.
pub(crate) const MEMORIES: &[Face] = &[
    memory("rust-websocket-memory", &[TUNGSTENITE], ProgramKind::Rust("panpipe-calls"), "a Service on tokio"),
    memory(
        "python-websocket-memory",
        &[Rival {
            name: "websockets",
            program: Program {
                server: ProgramKind::PythonRival("websockets_asyncio.py"),
                client: ProgramKind::RustRival("tungstenite"),
                about: "websockets on asyncio, without compression",
            },
        }],
        ProgramKind::Python("panpipe_calls_asyncio.py"),
        "a Service on asyncio",
    ),
    memory(
        "node-websocket-memory",
        &[Rival {
            name: "ws",
            program: Program {
                server: ProgramKind::NodeRival("ws.mjs"),
                client: ProgramKind::RustRival("tungstenite"),
                about: "npm ws, without compression",
            },
        }],
        ProgramKind::Node("panpipe_calls.mjs"),
        "a Service in Node",
    ),
];
